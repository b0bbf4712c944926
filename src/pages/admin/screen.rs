//! The administrator's lists and details: jobs, dead letters, deliveries, logs, settings. All of them are the same few
//! things (chips, a filter, a table, facts, texts), so they share one shape and one view; the server fills it. That
//! keeps the WebAssembly small, and a new list costs the browser nothing.

use crate::{
    components::{Alert, ConfirmBox, Empty, Moment, Panel, Progress, ScoreBadge, ScrollTable, StateChip, TimeStamp, Trouble, use_live},
    error::AppError,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_url};
use serde::{Deserialize, Serialize};

/// What stands in a table's cell or beside a fact's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, right-aligned.
    Number(String),
    /// An id or code.
    Code(String),
    /// A state's word.
    State(String),
    /// A confidence; absent: not scored.
    Score(Option<i32>),
    /// When.
    Time(Moment),
    /// Address and words.
    Link(String, String),
    /// The same for a page that the server makes by itself, outside this application's routes.
    Plain(String, String),
    /// Address, words, and a remark below.
    Noted(String, String, String),
    /// A button each: words, the server function's address, hidden fields.
    Buttons(Vec<(String, String, Vec<(String, String)>)>),
    /// Buttons that send one of the page's shared forms: words, the form's name, the id they send, what they act on.
    Presses(Vec<(String, String)>, String, String),
    /// Several, beside each other.
    Group(Vec<Cell>),
    /// Nothing to show.
    None,
}

/// A choice with its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chip {
    /// Words.
    pub label: String,
    /// How many; may be empty.
    pub count: String,
    /// Where it leads.
    pub href: String,
    /// Whether it is what is shown.
    pub current: bool,
}

/// An input of a form; with options it is a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// In the URL.
    pub name: String,
    /// For people.
    pub label: String,
    /// As it is.
    pub value: String,
    /// To choose from: value and words.
    pub options: Vec<(String, String)>,
}

/// A form that sends something to a server function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The server function's address.
    pub action: String,
    /// Instead of sending, asks the page of this address.
    pub get: String,
    /// Inputs.
    pub fields: Vec<Field>,
    /// Hidden fields.
    pub hidden: Vec<(String, String)>,
    /// Its buttons: words, name and value of each; the first is the main one.
    pub buttons: Vec<(String, String, String)>,
    /// A button that asks a page with these words instead of sending them: its address and words.
    pub ask: Option<(String, String)>,
}

/// A table with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub note: String,
    /// Choices with counts.
    pub chips: Vec<Chip>,
    /// The filter.
    pub fields: Vec<Field>,
    /// What the filter keeps as it is.
    pub keep: Vec<(String, String)>,
    /// What can be typed into the filter.
    pub help: String,
    /// What can be done to everything that is shown.
    pub deeds: Vec<Cell>,
    /// Heads; those that start with `#` are numbers.
    pub heads: Vec<String>,
    /// Cells by row.
    pub rows: Vec<Vec<Cell>>,
    /// The next page.
    pub next: String,
    /// Back to the first page.
    pub first: String,
    /// Whether a filter is set: an empty table then says so.
    pub filtered: bool,
    /// The list without its filters; empty: the page itself.
    pub clear: String,
    /// What to say when there is nothing at all.
    pub empty: String,
}

/// A question before something that cannot be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What will happen.
    pub text: String,
    /// The button's words.
    pub verb: String,
    /// The server function's address.
    pub action: String,
    /// Hidden fields.
    pub fields: Vec<(String, String)>,
    /// The name of a remark to ask for; empty: none.
    pub remark: String,
    /// Where "Keep" leads; empty: the list.
    pub back: String,
}

/// A step of a way, with its time where it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What happens.
    pub words: String,
    /// When it happened; absent: not yet.
    pub at: Option<Moment>,
    /// How long it took until here.
    pub note: String,
}

/// Something that goes on over many rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What, and how far.
    pub label: String,
    /// 0–100.
    pub percent: u32,
    /// Its state's word.
    pub state: String,
    /// What can be done about it.
    pub deed: Cell,
}

/// A curve against the diagonal in a square, with the same numbers as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagram {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub note: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// The curve in a box of 400 × 400.
    pub line: String,
    /// What goes to the right and what upwards, both from 0 to 1.
    pub axes: [String; 2],
    /// Heads of the table; those that start with `#` are numbers.
    pub heads: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub lead: String,
    /// The list it belongs to: address and name.
    pub up: Option<(String, String)>,
    /// When it was read; absent: the page does not say.
    pub taken: Option<Moment>,
    /// Other views of the same page.
    pub tabs: Vec<Chip>,
    /// What can be done to the page's subject.
    pub deeds: Vec<Cell>,
    /// Something wrong with the page's subject.
    pub warning: String,
    /// Something of the reader's input that was not understood.
    pub complaint: String,
    /// What goes on just now.
    pub running: Vec<Running>,
    /// Whether the page is read anew every two seconds.
    pub follow: bool,
    /// A question to answer first.
    pub question: Option<Question>,
    /// The way of the page's subject.
    pub steps: Vec<Step>,
    /// Names and values.
    pub facts: Vec<(String, Cell)>,
    /// A form with its heading and a sentence.
    pub form: Option<(String, String, Form)>,
    /// A curve.
    pub diagram: Option<Diagram>,
    /// Headed texts: payloads, bodies.
    pub texts: Vec<(String, String)>,
    /// Tables.
    pub parts: Vec<Part>,
    /// Forms that buttons in rows send: name, the server function's address, hidden fields.
    pub shared: Vec<(String, String, Vec<(String, String)>)>,
}

/// A list, or one of its things, with the URL's query.
///
/// # Errors
/// Not an administrator; no such thing; the database is away.
#[server(endpoint = "screen")]
pub async fn load_screen(
    /// Which list.
    list: String,
    /// One thing of it, or nothing.
    id: String,
    /// The URL's query.
    query: String,
) -> Result<Shown, AppError> {
    super::lists::load(&list, &id, &query).await
}

/// A page of the administrator: the address names the list. What changes meanwhile is offered, not pushed under the pointer.
#[component]
pub fn Screen(
    /// Which list, where the address does not say it with its second part.
    #[prop(optional)]
    list: &'static str,
    /// One thing of a list: its name stands in the singular.
    #[prop(optional)]
    single: bool,
) -> impl IntoView {
    let params = use_params_map();
    let url = use_url();
    let live = use_live(&["jobs", "deliveries", "operation"]);
    let seen = RwSignal::new(0_u32);
    let list =
        Memo::new(move |_| if list.is_empty() { params.read().get_str("list").unwrap_or_default().to_owned() } else { list.to_owned() });
    let title = move || title(&list.read(), single);
    let id = Memo::new(move |_| params.read().get_str("id").unwrap_or_default().to_owned());
    let query = Memo::new(move |_| url.read().search().to_owned());
    let data = Resource::new(move || (list.get(), id.get(), query.get(), seen.get()), |(list, id, query, _)| load_screen(list, id, query));
    // What is followed, or goes on just now, is read anew by itself.
    Effect::new(move |_| {
        let goes_on = data.get().and_then(Result::ok).is_some_and(|s: Shown| s.follow || s.running.iter().any(|r| r.state == "running"));
        if goes_on {
            let timer = set_timeout_with_handle(move || seen.update(|n| *n = n.wrapping_add(1)), std::time::Duration::from_secs(2));
            on_cleanup(move || drop(timer.map(|t| t.clear())));
        }
    });
    // The news that what is shown holds already.
    let shown_version = RwSignal::new(0_u32);
    Effect::new(move |_| {
        data.track();
        shown_version.set(live.version.get_untracked());
    });
    let news = move || {
        (live.version.get() != shown_version.get()).then(|| {
            view! { <button class="quiet" type="button" on:click=move |_| seen.update(|n| *n = n.wrapping_add(1))>"Something changed. Show it"</button> }
        })
    };
    view! {
        <Title text=title/>
        <div class="page">
            <div class="news with-js" aria-live="polite">{news}</div>
            <Transition fallback=move || view! { <h1>{title}</h1><p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(screen) => shown(list.get_untracked(), screen),
                        Err(error) => view! { <h1>{title}</h1><Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
    .into_any()
}

/// In the window's title.
fn title(list: &str, single: bool) -> &'static str {
    match (list, single) {
        ("jobs", false) => "Jobs",
        ("jobs", true) => "Job",
        ("dead-letters", _) => "Dead letters",
        ("webhooks", false) => "Webhooks",
        ("webhooks", true) => "Delivery",
        ("logs", _) => "Logs",
        ("nodes", _) => "Nodes",
        ("schedules", _) => "Schedules",
        ("kinds", _) => "Kinds of jobs",
        ("limits", _) => "Rate limits",
        ("connections", _) => "Connections",
        ("trainers", false) => "Trainers and clients",
        ("trainers", true) => "Trainer",
        ("settings", _) => "Settings",
        ("settings/registry", _) => "Registry",
        ("calibration", _) => "Calibration",
        _ => "Not found",
    }
}

fn shown(list: String, s: Shown) -> AnyView {
    let list = list.as_str();
    view! {
        {s.up.map(|(href, name)| view! { <nav class="crumbs" aria-label="Where you are"><a href=href>{name}</a></nav> })}
        <div class="page-head">
            <div><h1>{s.title}</h1><p class="lead">{s.lead}</p></div>
            <div class="page-actions">
                {(!s.deeds.is_empty()).then(|| cell(Cell::Group(s.deeds)))}
                {s.taken.map(|at| view! { <span class="soft small">"as of "<TimeStamp at plain=true/></span> })}
            </div>
        </div>
        {(!s.tabs.is_empty()).then(|| chips(s.tabs, "tabs", "Views"))}
        {(!s.warning.is_empty()).then(|| view! { <Alert tone="bad">{s.warning}</Alert> })}
        {(!s.complaint.is_empty()).then(|| view! { <Alert tone="warn">{s.complaint}</Alert> })}
        {s.question.map(|q| question(list, q))}
        {s.running.into_iter().map(running).collect_view()}
        {(!s.steps.is_empty()).then(|| steps(s.steps))}
        {(!s.facts.is_empty()).then(|| view! {
            <dl class="panel facts">{s.facts.into_iter().map(|(name, value)| view! { <div><dt>{name}</dt><dd>{cell(value)}</dd></div> }).collect_view()}</dl>
        })}
        {s.form.map(|(title, note, f)| view! { <Panel title id="form"><p class="soft small">{note}</p>{form(f)}</Panel> })}
        {s.diagram.map(diagram)}
        {s.parts.into_iter().enumerate().map(|(i, p)| part(list, i, p)).collect_view()}
        {s.texts.into_iter().map(|(name, text)| view! {
            <section class="panel"><h2>{name.clone()}</h2><pre class="text" tabindex="0" role="region" aria-label=name>{text}</pre></section>
        }).collect_view()}
        {s.shared.into_iter().map(|(name, action, fields)| view! { <form id=name method="post" action=action hidden>{hidden(fields)}</form> }).collect_view()}
    }
    .into_any()
}

fn hidden(fields: Vec<(String, String)>) -> AnyView {
    fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value/> }).collect_view().into_any()
}

fn chips(list: Vec<Chip>, class: &'static str, label: &'static str) -> AnyView {
    view! {
        <nav class=class aria-label=label>{list.into_iter().map(|c| view! {
            <a href=c.href aria-current=c.current.then_some("true")>{c.label}{(!c.count.is_empty()).then(|| view! { " "<span class="chip-count">{c.count}</span> })}</a>
        }).collect_view()}</nav>
    }
    .into_any()
}

fn question(list: &str, q: Question) -> AnyView {
    let back = if q.back.is_empty() { format!("/admin/{list}") } else { q.back };
    let remark = (!q.remark.is_empty()).then(
        || view! { <label for="remark">"Why (optional)"</label><input id="remark" name=q.remark maxlength="500" autocomplete="off"/> },
    );
    view! {
        <ConfirmBox question=q.text back>
            <form class="actions" method="post" action=q.action>{hidden(q.fields)}{remark}<button class="button danger" type="submit">{q.verb}</button></form>
        </ConfirmBox>
    }
    .into_any()
}

fn running(r: Running) -> AnyView {
    let label = r.label.clone();
    view! {
        <section class="panel operation">
            <div class="operation-line"><span class="operation-done">{r.label}</span><StateChip state=r.state/>{cell(r.deed)}</div>
            <Progress label percent=r.percent/>
        </section>
    }
    .into_any()
}

fn steps(list: Vec<Step>) -> AnyView {
    view! {
        <ol class="steps" aria-label="What happened">{list.into_iter().map(|s| {
            let class = if s.at.is_some() { "reached" } else { "ahead" };
            view! {
                <li class=class>
                    <strong>{s.words}</strong>
                    {match s.at { Some(at) => view! { <span><TimeStamp at/></span> }.into_any(), None => view! { <span class="none">"not yet"</span> }.into_any() }}
                    <span class="soft small">{s.note}</span>
                </li>
            }
        }).collect_view()}</ol>
    }
    .into_any()
}

/// A form whose main buttons send; the asking one leads back to this page with the same words in the URL.
fn form(f: Form) -> AnyView {
    view! {
        <form class="filter" method=if f.get.is_empty() { "post" } else { "get" } action=if f.get.is_empty() { f.action } else { f.get }>
            {f.fields.into_iter().map(field).collect_view()}{hidden(f.hidden)}
            {f.buttons.into_iter().enumerate().map(|(i, (words, name, value))| view! {
                <button class=if i == 0 { "button primary" } else { "button" } type="submit" name=name value=value>{words}</button>
            }).collect_view()}
            {f.ask.map(|(page, words)| view! { <button class="button" type="submit" formmethod="get" formaction=page>{words}</button> })}
        </form>
    }
    .into_any()
}

fn part(list: &str, index: usize, p: Part) -> AnyView {
    const IDS: [&str; 4] = ["part-1", "part-2", "part-3", "part-4"];
    let id = IDS.get(index).copied().unwrap_or("part");
    let empty = p.rows.is_empty();
    let caption = format!("{}, table", p.title);
    let here = format!("/admin/{list}");
    let clear = if p.clear.is_empty() { here.clone() } else { p.clear };
    view! {
        <Panel title=p.title id class="flush">
            {(!p.note.is_empty()).then(|| view! { <p class="panel-note soft small">{p.note}</p> })}
            {(!p.chips.is_empty()).then(|| chips(p.chips, "chips", "By state"))}
            {(!p.fields.is_empty()).then(|| view! {
                <form class="filter" method="get" action=here role="search">
                    {p.fields.into_iter().map(field).collect_view()}{hidden(p.keep)}<button class="button small" type="submit">"Show"</button>
                    {(!p.help.is_empty()).then(|| view! { <span class="help soft small">{p.help}</span> })}
                </form>
            })}
            {(!p.deeds.is_empty()).then(|| view! { <div class="panel-deeds">{cell(Cell::Group(p.deeds))}</div> })}
            {match (empty, p.filtered) {
                (true, true) => view! { <Empty title="Nothing matches"><p><a class="button" href=clear>"Clear the filters"</a></p></Empty> }.into_any(),
                (true, false) => view! { <Empty title="Nothing here"><p>{p.empty}</p></Empty> }.into_any(),
                _ => table(caption, p.heads, p.rows),
            }}
            {(!p.next.is_empty() || !p.first.is_empty()).then(|| view! {
                <nav class="pager" aria-label="Pages">
                    {(!p.first.is_empty()).then(|| view! { <a class="button small" href=p.first>"Newest"</a> })}
                    {(!p.next.is_empty()).then(|| view! { <a class="button small" rel="next" href=p.next>"Older →"</a> })}
                </nav>
            })}
        </Panel>
    }
    .into_any()
}

fn diagram(d: Diagram) -> AnyView {
    let [right, up] = d.axes;
    let rows = d.rows.into_iter().map(|r| r.into_iter().map(Cell::Number).collect()).collect();
    let caption = format!("{}, table", d.title);
    view! {
        <Panel title=d.title id="diagram">
            <p class="soft small">{d.note}</p>
            <div class="square">
                <svg viewBox="-34 -8 442 444" role="img" aria-label=d.description>
                    <path class="plot-grid" d="M0 0V400H400M0 300H400M0 200H400M0 100H400M0 0H400M100 0V400M200 0V400M300 0V400M400 0V400"></path>
                    <path class="plot-even" d="M0 400L400 0"></path>
                    <path class="plot-line" d=d.line></path>
                    <g class="plot-words" aria-hidden="true">
                        <text x="-6" y="404" text-anchor="end">"0"</text><text x="-6" y="204" text-anchor="end">"0.5"</text><text x="-6" y="6" text-anchor="end">"1"</text>
                        <text x="200" y="418" text-anchor="middle">"0.5"</text><text x="400" y="418" text-anchor="end">"1"</text>
                        <text x="100" y="434" text-anchor="middle">{right}" →"</text><text x="6" y="14">"↑ "{up}</text>
                    </g>
                </svg>
                {table(caption, d.heads, rows)}
            </div>
        </Panel>
    }
    .into_any()
}

fn field(f: Field) -> AnyView {
    let id = format!("f-{}", f.name);
    let input = if f.options.is_empty() {
        view! { <input type="search" id=id.clone() name=f.name value=f.value maxlength="400" autocomplete="off"/> }.into_any()
    } else {
        let value = f.value;
        view! {
            <select id=id.clone() name=f.name>
                {f.options.into_iter().map(|(o, words)| { let selected = o == value; view! { <option value=o selected=selected>{words}</option> } }).collect_view()}
            </select>
        }
        .into_any()
    };
    view! { <label for=id>{f.label}</label>{input} }.into_any()
}

fn table(caption: String, heads: Vec<String>, rows: Vec<Vec<Cell>>) -> AnyView {
    let numbers: Vec<bool> = heads.iter().map(|h| h.starts_with('#')).collect();
    view! {
        <ScrollTable caption>
            <thead><tr>{heads.into_iter().map(|h| match h.strip_prefix('#') {
                Some(h) => view! { <th scope="col" class="num">{h.to_owned()}</th> }.into_any(),
                None => view! { <th scope="col">{h}</th> }.into_any(),
            }).collect_view()}</tr></thead>
            <tbody>{rows.into_iter().map(|r| row(r, &numbers)).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

/// The first cell names its row.
fn row(cells: Vec<Cell>, numbers: &[bool]) -> AnyView {
    let view = |(i, c): (usize, Cell)| {
        let class = match c {
            _ if numbers.get(i) == Some(&true) => "num",
            Cell::Time(_) => "when",
            _ => "",
        };
        if i == 0 {
            view! { <th scope="row" class=class>{cell(c)}</th> }.into_any()
        } else {
            view! { <td class=class>{cell(c)}</td> }.into_any()
        }
    };
    view! { <tr>{cells.into_iter().enumerate().map(view).collect_view()}</tr> }.into_any()
}

fn cell(c: Cell) -> AnyView {
    match c {
        Cell::Text(t) | Cell::Number(t) => t.into_any(),
        Cell::Code(t) => view! { <code>{t}</code> }.into_any(),
        Cell::State(state) => view! { <StateChip state/> }.into_any(),
        Cell::Score(score) => view! { <ScoreBadge score/> }.into_any(),
        Cell::Time(at) => view! { <TimeStamp at/> }.into_any(),
        Cell::Link(href, t) => view! { <a href=href>{t}</a> }.into_any(),
        // The server's own plain page: not for this router.
        Cell::Plain(href, t) => view! { <a href=href rel="external">{t}</a> }.into_any(),
        Cell::Noted(href, t, note) => view! { <a href=href>{t}</a><span class="remark">{note}</span> }.into_any(),
        Cell::Buttons(buttons) => view! {
            <div class="actions">{buttons.into_iter().map(|(label, action, fields)| view! {
                <form method="post" action=action>{hidden(fields)}<button class="button small" type="submit">{label}</button></form>
            }).collect_view()}</div>
        }
        .into_any(),
        Cell::Presses(buttons, id, what) => view! {
            <div class="actions">{buttons.into_iter().map(|(label, form)| view! {
                <button class="button small" type="submit" form=form name="id" value=id.clone()>{label}<span class="sr-only">": "{what.clone()}</span></button>
            }).collect_view()}</div>
        }
        .into_any(),
        Cell::Group(cells) => view! { <div class="actions">{cells.into_iter().map(cell).collect_view()}</div> }.into_any(),
        Cell::None => view! { <span class="none">"–"</span> }.into_any(),
    }
}
