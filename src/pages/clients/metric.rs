//! One metric of one person: over time, whether a change is real, which source is taken, and how two devices agree.

use super::{chart, compare, deeds::ChooseSource, person::Seen, query::Query, trend, words};
use crate::{
    components::{BadgeMark as Mark, Empty, Panel, ScoreBadge, ScrollTable, TimeStamp, text},
    error::AppError,
    model::Metric,
    quality::currency,
    server::context::Request,
    store::{
        audit,
        series::{self, Point, SourceRow},
        source_choice::{self, Choice, Outcome},
    },
};
use chrono::Days;
use leptos::{prelude::*, server_fn::ServerFn};
use sqlx::PgConnection;

/// Rows of the table beside the drawing.
const ROWS: usize = 60;

pub(super) async fn page(conn: &mut PgConnection, seen: &Seen, metric: Metric, query: &str) -> sqlx::Result<AnyView> {
    let user = &seen.person.user_id;
    let path = format!("{}/{}", seen.href, metric.key());
    let query = Query::parse(path, query);
    let Some(newest) = series::newest_day(conn, user, metric).await? else {
        let all = seen.href.clone();
        return Ok(view! {
            {head(seen, metric)}
            <Empty title="No values yet"><p>"Nothing of this metric has come for this person."</p><p><a class="button" href=all>"All metrics"</a></p></Empty>
        }
        .into_any());
    };
    let range: u64 = query.one_of("range", &["90", "30", "365"]).parse().unwrap_or(90);
    let from = newest - Days::new(range - 1);
    let back = range.max(compare::PAIR_DAYS) + trend::BAND_DAYS;
    let points = series::points(conn, user, metric, newest - Days::new(back), newest).await?;
    let sources = series::sources(conn, user, metric).await?;
    let choice = source_choice::of(conn, user, metric).await?;
    let rule = seen.registry.rule(metric);
    let sound = query.on("sound");
    let drawn = trend::draw(metric, rule, &points, sound, from, newest);
    let kept: Vec<&Point> = points.iter().filter(|p| p.day >= from && (!sound || trend::is_sound(p.score))).collect();
    let taken = trend::taken(&points);
    let compared = compare::comparisons(&seen.registry, metric, &taken);
    let pair = compare::pair(&seen.registry, metric, &points);
    let hidden = points.iter().filter(|p| p.day >= from).count() - kept.len();
    let several = sources.len() > 1;
    let numbers = table(seen, metric, &kept);
    Ok(view! {
        {head(seen, metric)}
        {taken.last().map(|p| newest_value(p, seen, metric, choice.as_ref(), &points))}
        <Panel title="Over time" id="trend" aside=switches(&query, range, sound)>
            {(hidden > 0).then(|| view! { <p class="soft small">{format!("{} hidden; which source is taken and the band are those of all values.", text::plural(hidden as i64, "value below 60 or without a score is", "values below 60 or without a score are"))}</p> })}
            {if drawn.empty {
                view! { <Empty title="Nothing to draw"><p>"No value of this time is as sure as asked for."</p></Empty> }.into_any()
            } else {
                chart::trend(drawn, several)
            }}
            {numbers}
        </Panel>
        {change(metric, compared)}
        {devices(pair, &sources)}
        {choose_panel(seen, metric, &sources, choice)}
    }
    .into_any())
}

pub(super) fn head(seen: &Seen, metric: Metric) -> AnyView {
    view! {
        <nav class="crumbs" aria-label="Where you are"><a href="/clients">"People"</a>" / "<a href=seen.href.clone()>{seen.name()}</a></nav>
        <div class="page-head"><div><h1>{metric.name()}</h1><p class="lead">{seen.name()}</p></div></div>
    }
    .into_any()
}

fn switches(query: &Query, range: u64, sound: bool) -> AnyView {
    let days = |n: u64, word: &'static str| {
        let value = if n == 90 { String::new() } else { n.to_string() };
        view! { <a href=query.with("range", &value) aria-current=(range == n).then_some("true")>{word}</a> }
    };
    view! {
        <div class="actions">
            <div class="segments" role="group" aria-label="Range">{days(30, "30 days")}{days(90, "90 days")}{days(365, "1 year")}</div>
            <div class="segments" role="group" aria-label="Show only"><a href=query.with("sound", if sound { "" } else { "1" }) aria-current=sound.then_some("true")>"Confidence ≥ 60"</a></div>
        </div>
    }
    .into_any()
}

/// The newest value with everything known about where it comes from.
fn newest_value(p: &Point, seen: &Seen, metric: Metric, choice: Option<&Choice>, points: &[Point]) -> AnyView {
    let hours = currency::age_hours(p.measured_at, p.day, p.received_at, seen.now);
    let current = currency::currency(&seen.registry, metric, hours);
    let live = p.probability.and_then(|q| currency::live_score(&seen.registry, metric, q, hours));
    let that_day: Vec<&Point> = points.iter().filter(|o| o.day == p.day).collect();
    let percent = |q: f64| (q * 100.0).round() as i32;
    let why = why_href(seen, metric, p);
    let suppressed: Vec<AnyView> = that_day
        .iter()
        .filter(|o| o.source != p.source)
        .map(|o| view! { <li>{words::provider(&o.source)}": "<span class="value">{words::amount(metric, o.value)}</span>" "<a class="badge-link" href=why_href(seen, metric, o)><ScoreBadge score=o.score/></a></li> }.into_any())
        .collect();
    view! {
        <section class="panel newest" aria-label="Newest value">
            <dl class="facts">
                <div><dt>{format!("Value of {}", text::day(p.day, seen.now.date_naive()))}</dt><dd class="figure">{words::amount(metric, p.value)}</dd></div>
                <div><dt>"Confidence"</dt><dd><ScoreBadge score=p.score/>{p.low.zip(p.high).map(|(l, h)| view! { <span class="soft small">{format!(" its 80 % interval {}–{}", percent(l), percent(h))}</span> })}
                    {p.score.map(|_| view! { <a class="why-link" href=why>"Why this score"</a> })}</dd></div>
                <div><dt>"Speaks for today"</dt><dd>{match current {
                    Some(c) => chart::currency(c, format!("{}{}", currency::age_in_words(hours), live.map_or(String::new(), |l| format!(": today worth {l}")))),
                    None => view! { <span class="soft">"a vendor’s own scale"</span> }.into_any(),
                }}</dd></div>
                <div><dt>"Source and device"</dt><dd>{words::provider(&p.source)}{p.device.as_deref().map(|d| format!(" · {}", text::cut(d, 40)))}
                    <span class="remark">{words::why_source(&p.source, choice.map(|c| c.source.as_str()), that_day.len() as i64)}</span></dd></div>
                <div><dt>"Measured"</dt><dd>{match p.measured_at { Some(at) => view! { <TimeStamp at=text::moment(at.min(p.received_at), seen.now)/> }.into_any(), None => view! { <span class="none">"not told"</span> }.into_any() }}</dd></div>
                <div><dt>"Received"</dt><dd><TimeStamp at=text::moment(p.received_at, seen.now)/></dd></div>
                {(!suppressed.is_empty()).then(|| view! { <div><dt>"Not taken that day"</dt><dd><ul>{suppressed}</ul></dd></div> })}
            </dl>
        </section>
    }
    .into_any()
}

fn why_href(seen: &Seen, metric: Metric, p: &Point) -> String {
    format!("{}/{}/{}?source={}", seen.href, metric.key(), p.day, text::segment(&p.source))
}

/// The drawing's numbers, newest first, each leading to its reasons.
fn table(seen: &Seen, metric: Metric, points: &[&Point]) -> AnyView {
    let more = points.len().saturating_sub(ROWS);
    let today = seen.now.date_naive();
    view! {
        <details class="twin">
            <summary>"Show as table"</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Values by day">
                <table>
                    <caption class="sr-only">"Values by day and source, newest first"</caption>
                    <thead><tr><th scope="col">"Day"</th><th scope="col" class="num">"Value"</th><th scope="col">"Confidence"</th><th scope="col">"Source and device"</th><th scope="col">"Doubts"</th></tr></thead>
                    <tbody>{points.iter().rev().take(ROWS).map(|p| view! {
                        <tr>
                            <th scope="row"><a href=why_href(seen, metric, p)>{text::day(p.day, today)}</a></th>
                            <td class="num">{words::amount(metric, p.value)}</td>
                            <td><ScoreBadge score=p.score/></td>
                            <td>{words::provider(&p.source)}{p.device.as_deref().map(|d| format!(" · {}", text::cut(d, 40)))}</td>
                            <td>{p.verdict.as_deref().map(|v| format!("{v} by a person. "))}{p.doubts.iter().map(|d| words::doubt(d)).collect::<Vec<_>>().join(", ")}</td>
                        </tr>
                    }).collect_view()}</tbody>
                </table>
            </div>
            {(more > 0).then(|| view! { <p class="soft">{format!("{} in the CSV of the person’s page.", text::plural(more as i64, "older value is", "older values are"))}</p> })}
        </details>
    }
    .into_any()
}

fn change(metric: Metric, rows: Vec<compare::Comparison>) -> AnyView {
    view! {
        <Panel title="Is a change real?" id="change" class="flush">
            {if rows.is_empty() {
                view! { <Empty title="No verdict"><p>{format!("{} is a vendor’s own scale; how much it differs by chance is not known.", metric.name())}</p></Empty> }.into_any()
            } else {
                view! {
                    <p class="panel-note soft small">{format!("Against the {} days before. Values count by their confidence; one below 40 never drives a verdict.", compare::BEFORE)}</p>
                    <ScrollTable caption="Changes and the smallest change that could be told from noise">
                        <thead><tr><th scope="col">"Days"</th><th scope="col">"Verdict"</th><th scope="col" class="num">"Change"</th><th scope="col" class="num">"Smallest detectable"</th><th scope="col">"In words"</th></tr></thead>
                        <tbody class="stack">{rows.into_iter().map(|c| view! {
                            <tr><th scope="row">{c.days}</th>
                                <td><span class=format!("badge tier-{}", c.tone)><Mark badge=mark(c.tone)/><span class="badge-word">{c.verdict}</span></span></td>
                                <td class="num value">{c.difference}</td><td class="num">{c.smallest}</td>
                                <td class="soft full">{c.sentence}</td></tr>
                        }).collect_view()}</tbody>
                    </ScrollTable>
                }.into_any()
            }}
        </Panel>
    }
    .into_any()
}

fn mark(tone: &str) -> crate::model::Badge {
    match tone {
        "good" => crate::model::Badge::Good,
        "fair" => crate::model::Badge::Fair,
        _ => crate::model::Badge::Unknown,
    }
}

fn devices(pair: Option<compare::Pair>, sources: &[SourceRow]) -> AnyView {
    if sources.len() < 2 {
        return ().into_any();
    }
    view! {
        <Panel title="Two devices" id="devices">
            {match pair {
                Some(pair) => chart::bland_altman(pair),
                None => view! { <p class="soft">"The two sources have fewer than three days in common: too few to compare."</p> }.into_any(),
            }}
        </Panel>
    }
    .into_any()
}

/// Which source is taken, and a form to take another.
fn choose_panel(seen: &Seen, metric: Metric, sources: &[SourceRow], choice: Option<Choice>) -> AnyView {
    let today = seen.now.date_naive();
    let chosen = choice.as_ref().map(|c| c.source.clone());
    let now = match &choice {
        Some(c) => {
            let by = c.chosen_by.as_deref().map_or(String::new(), |b| format!(" by {b}"));
            format!(
                "{} was chosen{by}, {}. It is taken on every day on which it has a value.",
                words::provider(&c.source),
                text::moment(c.chosen_at, seen.now).ago
            )
        }
        None => "Nobody chose: on each day the source with the best evidence is taken.".to_owned(),
    };
    let radio = |value: String, on: bool, label: String, note: String, badge: Option<Option<i32>>| {
        // What the reader chose stays with it when the page comes again.
        let id = if value.is_empty() { "choice".to_owned() } else { format!("choice-{}", text::segment(&value)) };
        view! {
            <label class="choice" id=id>
                <input type="radio" name="source" value=value checked=on/>
                <span>{label}</span>{badge.map(|score| view! { <ScoreBadge score/> })}<span class="soft small">{note}</span>
            </label>
        }
        .into_any()
    };
    let rows: Vec<AnyView> = sources
        .iter()
        .map(|s| {
            let rank = s.rank.map_or("no evidence known".to_owned(), |r| format!("evidence rank {r}"));
            let days = if s.days == 1 { "1 day".to_owned() } else { format!("{} days", text::count(s.days)) };
            let note = format!("{rank}, {days}, newest {}", text::day(s.newest, today));
            radio(
                s.source.clone(),
                chosen.as_deref() == Some(&s.source),
                words::provider(&s.source),
                note,
                Some(s.average.map(|a| a.round() as i32)),
            )
        })
        .collect();
    let user_id = seen.person.user_id.clone();
    view! {
        <Panel title="Source" id="source">
            <p class="soft">{now}</p>
            <form method="post" action=ChooseSource::url() class="choices">
                <input type="hidden" name="user_id" value=user_id/>
                <input type="hidden" name="metric" value=metric.key()/>
                <fieldset>
                    <legend class="sr-only">"Take the value from"</legend>
                    {radio(String::new(), chosen.is_none(), "The best evidence".to_owned(), "decided anew each day".to_owned(), None)}
                    {rows}
                </fieldset>
                <button class="button" type="submit">"Take this source"</button>
                <p class="soft small">"The values of the other sources are kept and shown. The choice is written to the audit log."</p>
            </form>
        </Panel>
    }
    .into_any()
}

/// The deed behind the form.
pub(super) async fn choose(user_id: &str, metric: &str, source: &str) -> Result<(), AppError> {
    let request = Request::current()?;
    let caller = request.account()?;
    let metric = Metric::from_key(metric).ok_or_else(|| request.refused(AppError::invalid("metric: there is no metric of this name.")))?;
    if user_id.is_empty() || user_id.contains('\0') || source.contains('\0') || source.len() > 64 {
        return Err(request.refused(AppError::not_found("This person or source")));
    }
    let actor = audit::Actor::of(caller, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    let wish = Some(source).filter(|s| !s.is_empty());
    let outcome = source_choice::choose(&request.services.db, caller, &actor, user_id, metric, wish).await.map_err(|e| request.db(&e))?;
    match outcome {
        Outcome::NotTheirs => return Err(request.refused(AppError::not_found("This person"))),
        Outcome::NoSuchSource => {
            return Err(request.refused(AppError::invalid("source: this person has no value of this metric from that source.")));
        }
        Outcome::Changed | Outcome::Same => {}
    }
    let notice = if outcome == Outcome::Changed { "source-chosen" } else { "source-same" };
    let back = format!("/clients/{}/{}", text::segment(user_id), metric.key());
    leptos_axum::redirect(&format!("{back}?notice={notice}"));
    Ok(())
}
