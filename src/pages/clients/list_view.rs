//! The list of clients as HTML.

use super::{
    list::{Came, Client, Roster, STRIP, Value},
    query::Query,
};
use crate::{
    components::{BadgeMark, Empty, Pager, ScoreBadge, ScrollTable, Simulated, text},
    model::{Badge, Metric},
    pages::clients::people::server::KEY,
    store::roster::{COUNTED, Links, Sort},
};
use leptos::prelude::*;

pub(super) fn shown(r: Roster) -> AnyView {
    let simulated = r.clients.iter().any(|c| c.simulated);
    let lead = lead(r.wish.metric, r.wish.sort);
    view! {
        <div class="page-head">
            <div><h1>"People"</h1><p class="lead">{lead}</p></div>
            <div class="page-actions"><a class="button small" rel="external" download href=r.query.at("/clients.csv")>"Download CSV"</a></div>
        </div>
        {metric_tabs(&r)}
        {attention(&r)}
        {filter(&r)}
        {people(r)}
        {simulated.then(|| view! { <p class="notice-line"><Simulated/>" Some of these people are made up."</p> })}
    }
    .into_any()
}

/// What the list is, in the order in which it is.
fn lead(metric: Option<Metric>, sort: Sort) -> String {
    match (metric, sort) {
        (Some(m), Sort::Trust) => format!("Whose {} cannot be trusted, least first, and why.", m.name()),
        (None, Sort::Trust) => "Least trusted first: whose newest numbers need a second look before you act on them.".to_owned(),
        (_, Sort::Gain) => "Most to gain first: where one step would raise the confidence most.".to_owned(),
        (_, Sort::Age) => "Longest without data first: whose numbers say least about today.".to_owned(),
        (Some(m), Sort::Name) => format!("By name: how far each one’s {} can be trusted.", m.name()),
        (None, Sort::Name) => "By name: how far each one’s newest numbers can be trusted.".to_owned(),
    }
}

/// How many need a look, each number leading to them.
fn attention(r: &Roster) -> AnyView {
    let c = r.counts;
    let people = if c.people == 1 { "person" } else { "people" };
    let figure = |n: i64, words: &'static str, name: &'static str, value: &'static str, mark: Badge| {
        (n > 0).then(|| {
            let on = r.query.get(name) == value;
            view! {
                <li class=format!("tier-{}", mark.key())>
                    <a href=r.query.with(name, if on { "" } else { value }) aria-current=on.then_some("true")><BadgeMark badge=mark/><strong>{counted(n)}</strong>{words}</a>
                </li>
            }
        })
    };
    let poor = if r.wish.metric.is_some() { "below 40" } else { "with a value below 40" };
    view! {
        <ul class="attention" aria-label="Who needs a look">
            <li><strong>{counted(c.people)}</strong>{format!(" {people}")}</li>
            {(c.with < c.people).then(|| view! { <li>{without(c.people, c.with)}</li> })}
            {figure(c.poor, poor, "tier", "poor", Badge::Poor)}
            {r.wish.metric.and_then(|_| figure(c.old, "out of date", "tier", "old", Badge::Unknown))}
            {figure(c.broken, "with a broken connection", "links", "broken", Badge::Poor)}
            {figure(c.silent, "with a silent device", "links", "silent", Badge::Fair)}
        </ul>
    }
    .into_any()
}

/// How many have no value, where fewer have one than there are. People beyond [`COUNTED`] were not counted: then it is at least so many.
fn without(people: i64, with: i64) -> String {
    let more = if people > COUNTED { "+" } else { "" };
    format!("{}{more} without a value of it", text::count(people - with))
}

/// A number that was not counted further says so.
fn counted(n: i64) -> String {
    if n > COUNTED { format!("{}+", text::count(COUNTED)) } else { text::count(n) }
}

/// One click to one metric: the question is mostly about one.
fn metric_tabs(r: &Roster) -> AnyView {
    let tab = |metric: Option<Metric>| {
        let (name, key) = metric.map_or(("All key metrics", ""), |m| (m.name(), m.key()));
        view! { <a href=r.query.with("metric", key) aria-current=(r.wish.metric == metric).then_some("true")>{name}</a> }
    };
    let other = r.wish.metric.filter(|m| !KEY.contains(m));
    view! {
        <nav class="tabs" aria-label="Metric">
            {tab(None)}
            {KEY.iter().copied().chain(other).map(|m| tab(Some(m))).collect_view()}
        </nav>
    }
    .into_any()
}

fn filter(r: &Roster) -> AnyView {
    let (q, tier, links, sort) = (r.query.get("q"), r.query.get("tier"), r.wish.links, r.wish.sort);
    let option = |value: &'static str, word: &'static str, on: bool| view! { <option value=value selected=on>{word}</option> };
    let of_metric = r.wish.metric.is_some();
    view! {
        <form class="filter" method="get" action="/clients" role="search">
            {r.wish.metric.map(|m| view! { <input type="hidden" name="metric" value=m.key()/> })}
            <span class="field">
                <label for="q">"Name or id"</label>
                <input id="q" name="q" type="search" value=q maxlength="200" autocomplete="off"/>
            </span>
            <span class="field">
                <label for="tier">{if of_metric { "Newest value is" } else { "With a value that is" }}</label>
                <select id="tier" name="tier">
                    {option("", "of any badge", tier.is_empty())}
                    {option("doubted", "below 60", tier == "doubted")}
                    {of_metric.then(|| option("old", "out of date", tier == "old"))}
                    {Badge::ALL.map(|b| option(b.key(), b.word(), tier == b.key())).into_iter().collect_view()}
                </select>
            </span>
            <span class="field">
                <label for="week">"Data"</label>
                <select id="week" name="week">
                    {option("", "however old", r.wish.since.is_none())}
                    {option("1", "of the last 7 days", r.wish.since.is_some())}
                </select>
            </span>
            <span class="field">
                <label for="links">"Devices"</label>
                <select id="links" name="links">
                    {option("", "any", links == Links::Any)}
                    {option("silent", "silent for two days", links == Links::Silent)}
                    {option("broken", "connection broken", links == Links::Broken)}
                </select>
            </span>
            <span class="field">
                <label for="sort">"Order"</label>
                <select id="sort" name="sort">
                    {option("", "least trusted first", sort == Sort::Trust)}
                    {option("gain", "most to gain first", sort == Sort::Gain)}
                    {option("age", "longest without data first", sort == Sort::Age)}
                    {option("name", "by name", sort == Sort::Name)}
                </select>
            </span>
            <button class="button" type="submit">"Show"</button>
        </form>
    }
    .into_any()
}

fn people(r: Roster) -> AnyView {
    let filtered = !r.wish.search.is_empty()
        || r.wish.tier.is_some()
        || r.wish.unknown
        || r.wish.before.is_some()
        || r.wish.since.is_some()
        || r.wish.links != Links::Any
        || r.wish.metric.is_some()
        || r.page > 1;
    if r.clients.is_empty() {
        return if filtered {
            view! { <Empty title="Nobody matches"><p>"No person fits this search, badge and page."</p><p><a class="button" href="/clients">"Clear the filters"</a></p></Empty> }.into_any()
        } else {
            view! { <Empty title="Nobody here yet"><p>"People appear with their first delivery. Trainers see those an administrator assigned to them."</p></Empty> }.into_any()
        };
    }
    let base = r.query.with("page", "");
    let one = r.wish.metric.is_some();
    let heads: Vec<&'static str> = r.columns.iter().map(|m| m.name()).collect();
    let row_of_heads = head_cells(&r.query, r.wish.sort, &heads, one);
    view! {
        <section class="panel flush" aria-label="People">
            {legend()}
            <ScrollTable caption="People and the confidence of their newest values">
                <thead><tr>{row_of_heads}</tr></thead>
                <tbody class=if one { "roster one" } else { "roster" }>{r.clients.into_iter().map(|c| row(c, &heads, one)).collect_view()}</tbody>
            </ScrollTable>
        </section>
        {r.cut.then(|| view! { <p class="soft">"The list is shown up to here. Search for a name, or narrow it, to see the others."</p> })}
        <Pager page=r.page more=r.more base/>
    }
    .into_any()
}

/// The heads: of one metric its own column holds the confidence that the list is in order of, else that of seven days.
fn head_cells(query: &Query, now: Sort, metrics: &[&'static str], one: bool) -> Vec<AnyView> {
    let plain = |label: &'static str| view! { <th scope="col">{label}</th> }.into_any();
    let sorts = |label: String, by: Sort, way: &'static str| sort_head(query, label, by, (now == by).then_some(way));
    let trust = |label: &str| sorts(label.to_owned(), Sort::Trust, "ascending");
    let mut cells = vec![sorts(format!("Person, last {STRIP} days"), Sort::Name, "ascending")];
    cells.push(if one { plain("Act on it today?") } else { trust("7 days") });
    cells.extend(metrics.iter().map(|m| if one { trust(m) } else { plain(m) }));
    cells.extend(one.then(|| plain("Why")));
    cells.push(sorts("Achievable".to_owned(), Sort::Gain, "descending"));
    cells.push(sorts("Last data".to_owned(), Sort::Age, "ascending"));
    cells
}

/// A head that leads to the list in the order of its column, and says whether it is in that order.
fn sort_head(query: &Query, label: String, by: Sort, sorted: Option<&'static str>) -> AnyView {
    let word = if by == Sort::default() { "" } else { by.word() };
    view! { <th scope="col" aria-sort=sorted><a href=query.with("sort", word)>{label}</a></th> }.into_any()
}

/// What the shapes mean, of badges and of the fields under a name.
fn legend() -> AnyView {
    let badges = [
        (Badge::Excellent, "80–100"),
        (Badge::Good, "60–79"),
        (Badge::Fair, "40–59"),
        (Badge::Poor, "0–39"),
        (Badge::Unknown, "not scored"),
    ];
    view! {
        <ul class="legend" aria-label="Badges and days">
            {badges.map(|(badge, range)| view! { <li><BadgeMark badge/><span>{badge.word()}</span><span class="soft">{range}</span></li> }).into_iter().collect_view()}
            <li class="legend-days">{strip(&[Came::Full, Came::Part, Came::Nothing], "Three heights".to_owned())}<span class="soft">"a day: full, partial, without data"</span></li>
        </ul>
    }
    .into_any()
}

fn row(c: Client, heads: &[&'static str], one: bool) -> AnyView {
    let first = c.values.iter().flatten().next().cloned();
    view! {
        <tr>
            <th scope="row">
                <a href=c.href>{c.name}</a>{c.simulated.then(|| view! { " "<span class="tag small">"simulated"</span> })}
                {strip(&c.came, c.strip)}
                {trouble("Silent", "fair", c.silent)}{trouble("Broken", "poor", c.broken)}
            </th>
            {if one {
                let (word, tier) = first.as_ref().map_or(("Unknown", "unknown"), |v| v.act);
                view! { <td class="acted"><span class=format!("act-word tier-{tier}")>{word}</span></td> }.into_any()
            } else {
                view! { <td class="average">{label("7 days")}<ScoreBadge score=c.average compact=true/></td> }.into_any()
            }}
            {c.values.into_iter().zip(heads).map(|(v, head)| value(v, head, one)).collect_view()}
            {one.then(|| view! { <td class="reason">{label("Why")}{why(first)}</td> })}
            <td class="gain">{label("Achievable")}{match c.gain {
                Some((0, text)) => view! { <span class="none">{text}</span> }.into_any(),
                Some((points, text)) => view! { <strong class="num">{format!("+{points}")}</strong>" "<span class="remark">{text}</span> }.into_any(),
                None => view! { <span class="none">"–"</span> }.into_any(),
            }}</td>
            <td class="last-data">{label("Last data")}{match c.last_data {
                Some(at) => view! { <time datetime=at.iso title=at.full>{at.text}</time><span class="remark">{at.ago}</span> }.into_any(),
                None => view! { <span class="none">"never"</span> }.into_any(),
            }}</td>
        </tr>
    }
    .into_any()
}

/// What speaks against a value, leading to its reasons. The list may be a moment behind: a value that went since has none.
fn why(v: Option<Value>) -> AnyView {
    let Some(v) = v else { return view! { <span class="none">"There is no value any more"</span> }.into_any() };
    let said = if v.reason.is_empty() { "Nothing speaks against it".to_owned() } else { v.reason };
    view! { <a href=v.href>{said}</a>{(!v.doubts.is_empty()).then(|| view! { <span class="remark">{v.doubts}</span> })} }.into_any()
}

/// The column's name, where a narrow screen shows no head.
pub(super) fn label(text: &'static str) -> AnyView {
    view! { <span class="cell-label">{text}</span> }.into_any()
}

/// What is the matter with a connection, by provider.
fn trouble(word: &'static str, tone: &'static str, providers: Vec<String>) -> Option<AnyView> {
    let badge = if tone == "poor" { Badge::Poor } else { Badge::Fair };
    (!providers.is_empty()).then(|| {
        view! { <span class="remark"><span class=format!("badge tier-{tone}")><BadgeMark badge/><span class="badge-word">{word}</span></span>" "{providers.join(", ")}</span> }.into_any()
    })
}

fn value(v: Option<Value>, head: &'static str, one: bool) -> AnyView {
    match v {
        Some(v) => view! {
            <td class="reading">{label(head)}
                <span class="value">{v.amount}</span><a class="badge-link" href=v.href><ScoreBadge score=v.score compact=!one/></a>
                <span class="remark">{v.source}" · "{v.age}</span>
            </td>
        }
        .into_any(),
        None => view! { <td class="reading">{label(head)}<span class="none">"no data"</span></td> }.into_any(),
    }
}

/// A field a day: filled, half filled, hollow.
fn strip(came: &[Came], spoken: String) -> AnyView {
    let width = came.len() * 9 + 2;
    let path = |what: Came, tall: f64| {
        let fields = came.iter().enumerate().filter(|(_, c)| **c == what);
        fields.map(|(i, _)| format!("M{} 12v-{tall}h7v{tall}Z", i * 9 + 1)).collect::<String>()
    };
    view! {
        <svg class="strip" viewBox=format!("0 0 {width} 13") width=width height="13" role="img" aria-label=spoken>
            <path class="strip-full" d=path(Came::Full, 11.0)></path>
            <path class="strip-part" d=path(Came::Part, 5.0)></path>
            <path class="strip-none" d=path(Came::Nothing, 1.5)></path>
        </svg>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_counts_that_were_cut_says_that_it_is_at_least_so_many() {
        assert_eq!(without(40, 12), "28 without a value of it");
        assert_eq!(without(COUNTED + 1, 900), "101+ without a value of it");
    }

    #[test]
    fn the_lead_says_the_order_that_holds() {
        for metric in [None, Some(Metric::Weight)] {
            for (sort, word) in
                [(Sort::Trust, "least"), (Sort::Gain, "most to gain first"), (Sort::Age, "longest without data"), (Sort::Name, "by name")]
            {
                let lead = lead(metric, sort).to_lowercase();
                assert!(lead.contains(word) && (sort == Sort::Trust || !lead.contains("least first")), "{lead}");
            }
        }
    }

    #[test]
    fn without_a_value_nothing_leads_nowhere() {
        let client = |v: Option<Value>| Client { name: "Anna".into(), href: "/clients/anna".into(), values: vec![v], ..Client::default() };
        let gone = row(client(None), &["Weight"], true).to_html();
        assert!(!gone.contains("href=\"\"") && !gone.contains("Nothing speaks against it"), "{gone}");
        assert!(gone.contains("no data") && gone.contains("There is no value any more"), "{gone}");
        let v = Value {
            amount: "80 kg".into(),
            href: "/clients/anna/weight/2026-01-01".into(),
            age: "5 months, 1 Jan".into(),
            ..Value::default()
        };
        let old = row(client(Some(v)), &["Weight"], true).to_html();
        assert!(old.contains("Nothing speaks against it") && old.contains("5 months, 1 Jan") && !old.contains("href=\"\""), "{old}");
    }

    #[test]
    fn heads_lead_to_their_order_and_say_which_one_holds() {
        let query = Query::parse("/clients", "?tier=poor&sort=age");
        let age = sort_head(&query, "Last data".into(), Sort::Age, Some("ascending")).to_html();
        assert!(age.contains("aria-sort=\"ascending\"") && age.contains("sort=age"), "{age}");
        let trust = sort_head(&query, "7 days".into(), Sort::Trust, None).to_html();
        assert!(!trust.contains("aria-sort") && trust.contains("href=\"/clients?tier=poor\""), "{trust}");
    }
}
