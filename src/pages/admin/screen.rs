//! The administrator's lists and details: jobs, dead letters, deliveries, logs, settings. All of them are the same few
//! things (chips, a filter, a table, facts, texts), so they share one shape and one view; the server fills it. That
//! keeps the WebAssembly small, and a new list costs the browser nothing.

use crate::{
    components::{Alert, ConfirmBox, Empty, Moment, Panel, ScrollTable, StateChip, TimeStamp, Trouble, use_live},
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
    /// When.
    Time(Moment),
    /// Address and words.
    Link(String, String),
    /// Address, words, and a remark below.
    Noted(String, String, String),
    /// A button each: words, the server function's address, hidden fields.
    Buttons(Vec<(String, String, Vec<(String, String)>)>),
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
    /// How many.
    pub count: String,
    /// Where it leads.
    pub href: String,
    /// Whether it is what is shown.
    pub current: bool,
}

/// An input of the filter; with options it is a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// In the URL.
    pub name: String,
    /// For people.
    pub label: String,
    /// As it is.
    pub value: String,
    /// To choose from; the first means any.
    pub options: Vec<String>,
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
    /// What to say when there is nothing at all.
    pub empty: String,
}

/// A question before something that cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What will happen.
    pub text: String,
    /// The button's words.
    pub verb: String,
    /// The server function's address.
    pub action: String,
    /// Hidden fields.
    pub fields: Vec<(String, String)>,
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
    /// Something wrong with the page's subject.
    pub warning: String,
    /// A question to answer first.
    pub question: Option<Question>,
    /// Names and values.
    pub facts: Vec<(String, Cell)>,
    /// Headed texts: payloads, bodies.
    pub texts: Vec<(String, String)>,
    /// Tables.
    pub parts: Vec<Part>,
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

/// A page of the administrator: `list` names it.
#[component]
pub fn Screen(
    /// jobs, dead-letters, webhooks, logs, settings.
    list: &'static str,
    /// In the window's title.
    title: &'static str,
) -> impl IntoView {
    let params = use_params_map();
    let url = use_url();
    let live = use_live(&["jobs", "deliveries", "operation"]);
    let id = Memo::new(move |_| params.read().get_str("id").unwrap_or_default().to_owned());
    let query = Memo::new(move |_| url.read().search().to_owned());
    let data = Resource::new(move || (id.get(), query.get(), live.version.get()), move |(id, query, _)| load_screen(list.to_owned(), id, query));
    view! {
        <Title text=title/>
        <div class="page">
            <Transition fallback=move || view! { <h1>{title}</h1><p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(screen) => shown(list, screen),
                        Err(error) => view! { <h1>{title}</h1><Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
    .into_any()
}

fn shown(list: &'static str, s: Shown) -> AnyView {
    view! {
        {s.up.map(|(href, name)| view! { <nav class="crumbs" aria-label="Where you are"><a href=href>{name}</a></nav> })}
        <div class="page-head"><div><h1>{s.title}</h1><p class="lead">{s.lead}</p></div></div>
        {(!s.warning.is_empty()).then(|| view! { <Alert tone="bad">{s.warning}</Alert> })}
        {s.question.map(|q| question(list, q))}
        {(!s.facts.is_empty()).then(|| view! {
            <dl class="panel facts">{s.facts.into_iter().map(|(name, value)| view! { <div><dt>{name}</dt><dd>{cell(value)}</dd></div> }).collect_view()}</dl>
        })}
        {s.parts.into_iter().enumerate().map(|(i, p)| part(list, i, p)).collect_view()}
        {s.texts.into_iter().map(|(name, text)| view! {
            <section class="panel"><h2>{name}</h2><pre class="text" tabindex="0">{text}</pre></section>
        }).collect_view()}
    }
    .into_any()
}

fn hidden(fields: Vec<(String, String)>) -> AnyView {
    fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value/> }).collect_view().into_any()
}

fn question(list: &'static str, q: Question) -> AnyView {
    view! {
        <ConfirmBox question=q.text back=format!("/admin/{list}")>
            <form method="post" action=q.action>{hidden(q.fields)}<button class="button danger" type="submit">{q.verb}</button></form>
        </ConfirmBox>
    }
    .into_any()
}

fn part(list: &'static str, index: usize, p: Part) -> AnyView {
    const IDS: [&str; 4] = ["part-1", "part-2", "part-3", "part-4"];
    let id = IDS.get(index).copied().unwrap_or("part");
    let empty = p.rows.is_empty();
    let caption = format!("{}, table", p.title);
    view! {
        <Panel title=p.title id class="flush">
            {(!p.note.is_empty()).then(|| view! { <p class="panel-note soft small">{p.note}</p> })}
            {(!p.chips.is_empty()).then(|| view! {
                <nav class="chips" aria-label="By state">{p.chips.into_iter().map(|c| view! {
                    <a href=c.href aria-current=c.current.then_some("true")>{c.label}" "<span class="chip-count">{c.count}</span></a>
                }).collect_view()}</nav>
            })}
            {(!p.fields.is_empty()).then(|| view! {
                <form class="filter" method="get" action=format!("/admin/{list}")>{p.fields.into_iter().map(field).collect_view()}<button class="button small" type="submit">"Show"</button></form>
            })}
            {match (empty, p.filtered) {
                (true, true) => view! { <Empty title="Nothing matches"><p><a class="button" href=format!("/admin/{list}")>"Clear the filters"</a></p></Empty> }.into_any(),
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

fn field(f: Field) -> AnyView {
    let id = format!("f-{}", f.name);
    let input = if f.options.is_empty() {
        view! { <input type="search" id=id.clone() name=f.name value=f.value maxlength="200" autocomplete="off"/> }.into_any()
    } else {
        let value = f.value;
        view! {
            <select id=id.clone() name=f.name>
                {f.options.into_iter().map(|o| { let selected = o == value; let word = if o.is_empty() { "any".to_owned() } else { o.clone() }; view! { <option value=o selected=selected>{word}</option> } }).collect_view()}
            </select>
        }
        .into_any()
    };
    view! { <label for=id>{f.label}</label>{input} }.into_any()
}

fn table(caption: String, heads: Vec<String>, rows: Vec<Vec<Cell>>) -> AnyView {
    view! {
        <ScrollTable caption>
            <thead><tr>{heads.into_iter().map(|h| match h.strip_prefix('#') {
                Some(h) => view! { <th scope="col" class="num">{h.to_owned()}</th> }.into_any(),
                None if h.is_empty() => view! { <td></td> }.into_any(),
                None => view! { <th scope="col">{h}</th> }.into_any(),
            }).collect_view()}</tr></thead>
            <tbody>{rows.into_iter().map(|r| view! {
                <tr>{r.into_iter().map(|c| {
                    let class = match c { Cell::Number(_) => "num", Cell::Time(_) => "when", _ => "" };
                    view! { <td class=class>{cell(c)}</td> }
                }).collect_view()}</tr>
            }.into_any()).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

fn cell(c: Cell) -> AnyView {
    match c {
        Cell::Text(t) | Cell::Number(t) => t.into_any(),
        Cell::Code(t) => view! { <code>{t}</code> }.into_any(),
        Cell::State(state) => view! { <StateChip state/> }.into_any(),
        Cell::Time(at) => view! { <TimeStamp at/> }.into_any(),
        Cell::Link(href, t) => view! { <a href=href>{t}</a> }.into_any(),
        Cell::Noted(href, t, note) => view! { <a href=href>{t}</a><span class="remark">{note}</span> }.into_any(),
        Cell::Buttons(buttons) => view! {
            <div class="actions">{buttons.into_iter().map(|(label, action, fields)| view! {
                <form method="post" action=action>{hidden(fields)}<button class="button small" type="submit">{label}</button></form>
            }).collect_view()}</div>
        }
        .into_any(),
        Cell::Group(cells) => view! { <div class="actions">{cells.into_iter().map(cell).collect_view()}</div> }.into_any(),
        Cell::None => view! { <span class="none">"–"</span> }.into_any(),
    }
}
