//! How the administrator's lists and details look: one view for all of them.

use super::screen::{Cell, Chip, Chosen, Diagram, Field, Form, Part, Question, Running, Shown, Step};
use crate::components::{Alert, ConfirmBox, Empty, Panel, Progress, ScoreBadge, ScrollTable, StateChip, TimeStamp, menu};
use leptos::prelude::*;

/// The page of a list, or of one of its things.
pub(super) fn shown(list: &str, s: Shown) -> AnyView {
    view! {
        {s.up.map(|(href, name)| view! { <nav class="crumbs" aria-label="Where you are"><a href=href>{name}</a></nav> })}
        <div class="page-head">
            <div><h1>{s.title}</h1><p class="lead">{s.lead}</p></div>
            <div class="page-actions">
                {(!s.deeds.is_empty()).then(|| cell(Cell::Group(s.deeds)))}
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
    let id = format!("part-{}", index + 1);
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
            {p.chosen.filter(|_| !empty).map(chosen)}
            {match (empty, p.filtered) {
                (true, true) => view! { <Empty title="Nothing matches"><p><a class="button" href=clear>"Clear the filters"</a></p></Empty> }.into_any(),
                (true, false) => view! { <Empty title="Nothing here"><p>{p.empty}</p></Empty> }.into_any(),
                _ => table(caption, p.heads, p.sorted, p.rows),
            }}
            {(!p.next.is_empty() || !p.first.is_empty()).then(|| view! {
                <nav class="pager" aria-label="Pages">
                    {(!p.first.is_empty()).then(|| view! { <a class="button small" href=p.first>"First page"</a> })}
                    {(!p.next.is_empty()).then(|| view! { <a class="button small" rel="next" href=p.next>"Next →"</a> })}
                </nav>
            })}
        </Panel>
    }
    .into_any()
}

/// Says how many are ticked once a script counts them; without one it sends them just so.
fn chosen(c: Chosen) -> AnyView {
    view! {
        <form id="chosen" class="chosen" method="post" action=c.action>
            {hidden(c.hidden)}
            <span class="soft small" data-count="" role="status">"With the ticked rows of this page:"</span>
            {c.buttons.into_iter().map(|(words, deed)| view! { <button class="button small" type="submit" name="deed" value=deed>{words}</button> }).collect_view()}
            {c.ask.map(|(page, words, what)| view! { <button class="button small" type="submit" formmethod="get" formaction=page name="ask" value=what>{words}</button> })}
        </form>
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
                {table(caption, d.heads, None, rows)}
            </div>
        </Panel>
    }
    .into_any()
}

fn field(f: Field) -> AnyView {
    let id = format!("f-{}", f.name);
    let input = if f.options.is_empty() {
        match f.kind {
            "" => view! { <input type="search" id=id.clone() name=f.name value=f.value maxlength="400" autocomplete="off"/> }.into_any(),
            kind => view! { <input type=kind id=id.clone() name=f.name value=f.value/> }.into_any(),
        }
    } else {
        let value = f.value;
        view! {
            <select id=id.clone() name=f.name>
                {f.options.into_iter().map(|(o, words)| { let selected = o == value; view! { <option value=o selected=selected>{words}</option> } }).collect_view()}
            </select>
        }
        .into_any()
    };
    // A label stays with its input where the line breaks.
    view! { <span class="field"><label for=id>{f.label}</label>{input}</span> }.into_any()
}

fn table(caption: String, heads: Vec<String>, sorted: Option<usize>, rows: Vec<Vec<Cell>>) -> AnyView {
    let numbers: Vec<bool> = heads.iter().map(|h| h.starts_with('#')).collect();
    // A column without a head holds the boxes to tick; the one after it names the row.
    let head = usize::from(heads.first().is_some_and(String::is_empty));
    view! {
        <ScrollTable caption>
            <thead><tr>{heads.into_iter().enumerate().map(|(i, h)| {
                let order = (sorted == Some(i)).then_some("descending");
                match h.strip_prefix('#') {
                    Some(h) => view! { <th scope="col" class="num" aria-sort=order>{h.to_owned()}</th> }.into_any(),
                    None if h.is_empty() => view! { <td></td> }.into_any(),
                    None => view! { <th scope="col" aria-sort=order>{h}</th> }.into_any(),
                }
            }).collect_view()}</tr></thead>
            <tbody>{rows.into_iter().map(|r| row(r, &numbers, head)).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

/// The cell at `head` names its row.
fn row(cells: Vec<Cell>, numbers: &[bool], head: usize) -> AnyView {
    let view = |(i, c): (usize, Cell)| {
        let class = match c {
            _ if numbers.get(i) == Some(&true) => "num",
            Cell::Time(_) => "when",
            Cell::Pick(..) => "pick",
            _ => "",
        };
        if i == head {
            view! { <th scope="row" class=class>{cell(c)}</th> }.into_any()
        } else {
            view! { <td class=class>{cell(c)}</td> }.into_any()
        }
    };
    let id = match cells.first() {
        Some(Cell::Pick(id, _)) => Some(format!("row-{id}")),
        _ => None,
    };
    view! { <tr id=id>{cells.into_iter().enumerate().map(view).collect_view()}</tr> }.into_any()
}

fn cell(c: Cell) -> AnyView {
    match c {
        Cell::Text(t) | Cell::Number(t) => t.into_any(),
        Cell::Code(t) => view! { <code>{t}</code> }.into_any(),
        Cell::State(state) => view! { <StateChip state/> }.into_any(),
        Cell::Score(score) => view! { <ScoreBadge score/> }.into_any(),
        Cell::Time(at) => view! { <TimeStamp at/> }.into_any(),
        Cell::Link(href, t) => view! { <a rel=menu::rel(&href) href=href>{t}</a> }.into_any(),
        Cell::Noted(href, t, note) => view! { <a rel=menu::rel(&href) href=href>{t}</a><span class="remark">{note}</span> }.into_any(),
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
        Cell::Pick(id, what) => {
            view! { <label class="pick"><input type="checkbox" form="chosen" name="ids[]" value=id/><span class="sr-only">"Tick "{what}</span></label> }
                .into_any()
        }
        Cell::Group(cells) => view! { <div class="actions">{cells.into_iter().map(cell).collect_view()}</div> }.into_any(),
        Cell::None => view! { <span class="none">"–"</span> }.into_any(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_tables_a_page_has_each_has_a_name_of_its_own() {
        let part =
            |n: usize| Part { title: format!("Table {n}"), rows: vec![vec![Cell::None]], heads: vec!["A".into()], ..Part::default() };
        let diagram = Some(Diagram { title: "Drawn".into(), ..Diagram::default() });
        let html = shown("calibration", Shown { parts: (1..=9).map(part).collect(), diagram, ..Shown::default() }).to_html();
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(all >= 10 && ids.len() == all, "{ids:?} of {all}");
        for id in ids {
            assert!(html.contains(&format!("aria-labelledby=\"{id}\"")), "{id}: {html}");
        }
    }

    #[test]
    fn a_link_to_a_page_of_the_servers_own_is_left_to_the_browser() {
        let html = |href: &str| cell(Cell::Link(href.into(), "w".into())).to_html();
        assert!(html("/admin/users").contains("rel=\"external\"") && !html("/admin/jobs").contains("rel="));
    }

    #[test]
    fn a_table_says_by_which_column_it_is_in_order() {
        let heads = ["Error", "#Open"].map(String::from).to_vec();
        let row = vec![Cell::Text("e".into()), Cell::Number("3".into())];
        let html = table("t".into(), heads.clone(), Some(1), vec![row.clone()]).to_html();
        assert_eq!(html.matches("aria-sort=\"descending\"").count(), 1, "{html}");
        assert!(!table("t".into(), heads, None, vec![row]).to_html().contains("aria-sort"));
    }
}
