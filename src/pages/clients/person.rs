//! One person: can I act on today's numbers, every metric's newest value, and what came on which day.

use super::{activity, chart, findings, gaps, list_view::label, metric, people::server::KEY, query::Query, trend, why, words};
use crate::{
    components::{Alert, BadgeMark, Empty, Panel, ScoreBadge, ScrollTable, Simulated, Spark, Sparkline, StateChip, TimeStamp, line, text},
    error::AppError,
    model::{Badge, Category, Instant, Metric, Role},
    pages::made::Made,
    quality::{Registry, currency},
    rescore,
    server::context::Request,
    store::{
        audit,
        clients::{self, ConnectionRow, LatestRow, PersonRow, ScoreDay},
        series::{self, StripCell},
    },
};
use chrono::{Days, NaiveDate, Utc};
use leptos::prelude::*;
use sqlx::PgConnection;
use std::{borrow::Cow, collections::HashMap};

/// Days of the small lines and of the strip.
const DAYS: i32 = 30;

/// Who is looked at, in whose eyes, when.
pub(super) struct Seen {
    pub person: PersonRow,
    /// Whether an administrator looks.
    pub admin: bool,
    pub registry: Cow<'static, Registry>,
    pub now: Instant,
    /// `/clients/{user_id}`.
    pub href: String,
}

impl Seen {
    /// What to call this person.
    pub(super) fn name(&self) -> String {
        text::cut(self.person.label.as_deref().unwrap_or(&self.person.user_id), 80)
    }
}

/// One of the pages below `/clients/{user_id}`.
pub(super) async fn load(user_id: &str, metric_key: &str, day: &str, query: &str) -> Result<Made, AppError> {
    let request = Request::current()?;
    request.account()?;
    if user_id.contains('\0') || user_id.is_empty() {
        return Err(AppError::not_found("This person"));
    }
    let db = |e: sqlx::Error| request.db(&e);
    let registry = rescore::registry(&mut *request.services.db.service().acquire().await.map_err(db)?).await.map_err(db)?;
    // The page's one connection of the pages' pool: where each page waits for a second one, as many pages as there are
    // connections get none.
    let mut tx = request.read().await?;
    let person = clients::person(&mut tx, user_id).await.map_err(db)?.ok_or_else(|| AppError::not_found("This person"))?;
    note_reading(&request, user_id).await?;
    let seen = Seen {
        person,
        admin: request.account()?.role == Role::Admin,
        registry,
        now: Utc::now(),
        href: format!("/clients/{}", text::segment(user_id)),
    };
    let html = match metric_key {
        "" => {
            let query = Query::parse(seen.href.clone(), query);
            match query.get("tab").as_str() {
                "activity" => activity::page(&mut tx, &seen).await.map_err(db)?,
                _ => {
                    let doubts = findings::shown(findings::server::load(&mut tx, user_id).await.map_err(db)?);
                    let gaps = gaps::panel(&request, &mut tx, user_id, seen.now).await?;
                    overview(&mut tx, &seen, &query, gaps, doubts).await.map_err(db)?
                }
            }
        }
        key => {
            let metric = Metric::from_key(key).ok_or_else(|| AppError::not_found("This metric"))?;
            match day {
                "" => metric::page(&mut tx, &seen, metric, query).await.map_err(db)?,
                day => {
                    let day: NaiveDate = day.parse().map_err(|_| AppError::invalid("The day in the address must look like 2026-11-23."))?;
                    why::page(&mut tx, &seen, metric, day, query)
                        .await
                        .map_err(db)?
                        .ok_or_else(|| AppError::not_found("A value of this day"))?
                }
            }
        }
    };
    // Lines of the log are announced to nobody, and a job that fails is not to a trainer.
    let follow = metric_key.is_empty() && Query::parse("", query).get("tab") == "activity";
    // No name in the title: it ends up in histories and logs.
    Ok(Made { follow, ..Made::at("Person", html.to_html(), seen.now) })
}

/// A trainer's look at a person is recorded before anything is shown.
async fn note_reading(request: &Request, user_id: &str) -> Result<(), AppError> {
    let caller = request.account()?;
    if caller.role != Role::Trainer {
        return Ok(());
    }
    let actor = audit::Actor::of(caller, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    audit::note_reading(&request.services.db, &actor, user_id).await.map_err(|e| request.db(&e))
}

/// The head of all of a person's pages.
pub(super) fn head(seen: &Seen, tab: &str) -> AnyView {
    let person = &seen.person;
    let about = format!("/admin/people/{}", text::segment(&person.user_id));
    let id = person.label.is_some().then(|| text::cut(&person.user_id, 80));
    let link = |href: String, name: &'static str, on: bool| view! { <a href=href aria-current=on.then_some("true")>{name}</a> };
    view! {
        <nav class="crumbs" aria-label="Where you are"><a href="/clients">"People"</a>
            {seen.admin.then(|| view! { " · "<a rel="external" href=about>"Trainers, export, erasure"</a> })}</nav>
        <div class="page-head">
            <div>
                <h1>{seen.name()}</h1>
                <p class="lead">{id.map(|id| view! { <code>{id}</code>" " })}{person.simulated.then(|| view! { <Simulated/> })}</p>
            </div>
            <div class="page-figure"><span class="soft small">"Average of the last 7 days of data"</span><ScoreBadge score=person.average.map(|a| a.round() as i32)/></div>
        </div>
        <nav class="tabs" aria-label="Views">
            {link(seen.href.clone(), "Overview", tab == "overview")}
            {link(format!("{}?tab=activity", seen.href), "Activity", tab == "activity")}
        </nav>
    }
    .into_any()
}

async fn overview(conn: &mut PgConnection, seen: &Seen, query: &Query, gaps: AnyView, doubts: AnyView) -> sqlx::Result<AnyView> {
    let user = &seen.person.user_id;
    let latest = clients::latest(conn, std::slice::from_ref(user), &[]).await?;
    let scores = clients::scores(conn, user, DAYS).await?;
    let connections = clients::connections(conn, user).await?;
    let today = seen.now.date_naive();
    // Of a person whose data ended long ago, the last days with data.
    let end = latest.iter().map(|l| l.measurement_date).max().filter(|d| *d + Days::new(DAYS as u64) <= today).unwrap_or(today);
    let strip = series::strip(conn, user, end - Days::new(DAYS as u64 - 1)).await?;
    let rows: Vec<Row<'_>> =
        Metric::ALL.iter().filter_map(|m| Some(Row::of(*m, latest.iter().find(|l| l.metric_name == m.key())?, seen))).collect();
    Ok(view! {
        {head(seen, "overview")}
        {links(connections, seen.now)}
        {rows.is_empty().then(|| view! { <Empty title="No values yet"><p>"As soon as a delivery brings some, they appear here with their confidence."</p></Empty> })}
        {(!rows.is_empty()).then(|| view! {
            {today_panel(&rows, seen)}
            {values(&rows, &scores, seen, query)}
            {gaps}
            {matrix(&strip, end)}
            {doubts}
            <p class="soft small"><a rel="external" download href=query.at(&format!("{}/export.csv", seen.href))>{if query.on("recent") || query.on("sound") { "The values that the switches show, of all days, as CSV" } else { "All values as CSV" }}</a>" · "<a rel="external" download href=format!("{}/export.json", seen.href)>"All that is stored, as JSON"</a></p>
        })}
    }
    .into_any())
}

/// A metric's newest value with what follows from it.
struct Row<'a> {
    metric: Metric,
    l: &'a LatestRow,
    /// How far it still speaks for today; `None` for what is not scored.
    currency: Option<f64>,
    /// Since its measuring ended.
    hours: f64,
    age: String,
    href: String,
    why: String,
    reason: String,
}

impl<'a> Row<'a> {
    fn of(metric: Metric, l: &'a LatestRow, seen: &Seen) -> Self {
        let hours = currency::age_hours(l.measured_at, l.measurement_date, l.received_at, seen.now);
        let href = format!("{}/{}", seen.href, metric.key());
        Self {
            metric,
            l,
            currency: currency::currency(&seen.registry, metric, hours),
            hours,
            age: currency::age_in_words(hours),
            why: format!("{href}/{}?source={}", l.measurement_date, text::segment(&l.source)),
            href,
            reason: words::reason(words::points(l), l.confidence_score),
        }
    }
}

fn links(list: Vec<ConnectionRow>, now: Instant) -> AnyView {
    let gone = list.iter().any(|c| c.state == "deauthorised");
    view! {
        {gone.then(|| view! { <Alert tone="warn">"A connection was withdrawn. Its data are kept; an administrator can erase them."</Alert> })}
        {(!list.is_empty()).then(|| view! {
            <ul class="connections" aria-label="Connections">
                {list.into_iter().map(|c| {
                    let silent = matches!(c.state.as_str(), "active" | "reauthorised")
                        && c.last_data_at.is_some_and(|at| words::hours(at, now) > crate::store::roster::SILENT_HOURS);
                    view! {
                        <li><strong>{words::provider(&c.provider)}</strong><StateChip state=c.state/>
                            {silent.then(|| view! { <span class="badge tier-fair"><BadgeMark badge=Badge::Fair/><span class="badge-word">"silent"</span></span> })}
                            {match c.last_data_at { Some(at) => view! { <span class="soft">"last data "<TimeStamp at=text::moment(at, now)/></span> }.into_any(), None => view! { <span class="soft">"no data yet"</span> }.into_any() }}
                            {c.reason.filter(|r| !r.is_empty()).map(|r| view! { <span class="soft">{r}</span> })}
                        </li>
                    }
                }).collect_view()}
            </ul>
        })}
    }
    .into_any()
}

/// The trainer's question, answered for what is decided by.
fn today_panel(rows: &[Row<'_>], seen: &Seen) -> AnyView {
    let of = |m: &Metric| rows.iter().find(|r| r.metric == *m);
    let without: Vec<&str> = KEY.iter().filter(|m| of(m).is_none()).map(|m| m.name()).collect();
    let cards: Vec<AnyView> = KEY
        .iter()
        .filter_map(|m| Some((m, of(m)?)))
        .map(|(m, r)| {
            let (word, tier) = words::act_on(r.l.confidence_score, &seen.registry, *m, r.l.measurement_date, seen.now);
            let live = r.l.probability.and_then(|p| currency::live_score(&seen.registry, *m, p, r.hours));
            let day = words::old_day(r.hours, r.l.measurement_date, seen.now.date_naive());
            let reason = if r.reason.is_empty() { "Nothing speaks against it".to_owned() } else { r.reason.clone() };
            view! {
                <li class=format!("act tier-{tier}")>
                    <a class="act-name" href=r.href.clone()>{m.name()}</a>
                    <span class="act-value">{words::amount(*m, r.l.value)}</span>
                    <span class="act-word">{word}</span>
                    <span class="soft small">{format!("Confidence {}, {}{day}", r.l.confidence_score.map_or("unknown".into(), |s| s.to_string()), r.age)}
                        {live.filter(|l| Some(*l) != r.l.confidence_score).map(|l| format!(": speaks for today with {l}"))}</span>
                    <a class="small" href=r.why.clone()>{reason}</a>
                </li>
            }
            .into_any()
        })
        .collect();
    let none = cards.is_empty();
    view! {
        <Panel title="Can I act on it today?" id="today">
            {(!none).then(|| view! { <ul class="acts">{cards}</ul> })}
            {(!without.is_empty()).then(|| view! { <p class="soft small no-data">{format!("No data: {}", without.join(", "))}</p> })}
        </Panel>
    }
    .into_any()
}

const GROUPS: [(Category, &str); 7] = [
    (Category::Heart, "Heart"),
    (Category::Sleep, "Sleep"),
    (Category::Activity, "Activity"),
    (Category::Vital, "Breathing, oxygen, temperature"),
    (Category::Body, "Body"),
    (Category::Clinical, "Clinical"),
    (Category::VendorScore, "Vendors’ own scores"),
];

fn values(rows: &[Row<'_>], scores: &[ScoreDay], seen: &Seen, query: &Query) -> AnyView {
    let (recent, sound) = (query.on("recent"), query.on("sound"));
    let shows = |r: &&Row<'_>| {
        (!recent || words::is_recent(r.currency, r.l.measurement_date, seen.now)) && (!sound || trend::is_sound(r.l.confidence_score))
    };
    let hidden = rows.len() - rows.iter().filter(shows).count();
    let switch = |name: &'static str, on: bool, word: &'static str| {
        view! { <a href=query.with(name, if on { "" } else { "1" }) aria-current=on.then_some("true")>{word}</a> }
    };
    let toggles = view! {
        <div class="segments" role="group" aria-label="Show only">{switch("recent", recent, "Recent only")}{switch("sound", sound, "Confidence ≥ 60")}</div>
    };
    let groups: Vec<AnyView> = GROUPS
        .iter()
        .filter_map(|(category, title)| {
            let of: Vec<&Row<'_>> = rows.iter().filter(|r| r.metric.category() == *category).filter(shows).collect();
            (!of.is_empty()).then(|| {
                view! {
                    <tbody class="blocks values">
                        <tr class="group"><th scope="rowgroup" colspan="9">{*title}</th></tr>
                        {of.into_iter().map(|r| value_row(r, scores, seen)).collect_view()}
                    </tbody>
                }
                .into_any()
            })
        })
        .collect();
    let none = groups.is_empty();
    let all = seen.href.clone();
    view! {
        <Panel title="Newest values" id="values" class="flush" aside=toggles.into_any()>
            {(hidden > 0 && !none).then(|| view! { <p class="panel-note soft small">{hidden_by_switches(hidden)}</p> })}
            {if none {
                view! { <Empty title="Nothing is left"><p>"No value is as recent and as sure as asked for."</p><p><a class="button" href=all>"Show all"</a></p></Empty> }.into_any()
            } else {
                view! {
                    <ScrollTable caption="Newest value of each metric">
                        <thead><tr>
                            <th scope="col">"Metric"</th><th scope="col" class="num">"Value"</th><th scope="col">"Confidence"</th><th scope="col" class="num">"Its 80 % interval"</th>
                            <th scope="col">"30 days"</th><th scope="col">"Speaks for today"</th><th scope="col">"Source and device"</th><th scope="col">"Measured"</th><th scope="col">"Received"</th>
                        </tr></thead>
                        {groups}
                    </ScrollTable>
                }.into_any()
            }}
        </Panel>
    }
    .into_any()
}

fn hidden_by_switches(n: usize) -> String {
    format!("{} hidden by these switches.", text::plural(n as i64, "metric is", "metrics are"))
}

fn value_row(r: &Row<'_>, scores: &[ScoreDay], seen: &Seen) -> AnyView {
    let l = r.l;
    let remark = match (r.metric.is_vendor_score(), l.confidence_score) {
        (true, _) => "A vendor’s own scale: there is no truth to be near, so it has no confidence.".to_owned(),
        (_, None) => "Not scored yet.".to_owned(),
        _ if l.doubts.is_empty() => String::new(),
        _ => format!("Doubts: {}", l.doubts.iter().map(|d| words::doubt(d)).collect::<Vec<_>>().join(", ")),
    };
    let percent = |p: f64| (p * 100.0).round() as i32;
    let interval = l.low.zip(l.high).map_or(String::new(), |(low, high)| format!("{}–{}", percent(low), percent(high)));
    let day = text::day(l.measurement_date, seen.now.date_naive());
    let received = text::moment(l.received_at, seen.now);
    view! {
        <tr>
            <th scope="row"><a href=r.href.clone()>{r.metric.name()}</a>{(!remark.is_empty()).then(|| view! { <span class="remark">{remark}</span> })}</th>
            <td class="num value">{label("Value")}{words::amount(r.metric, l.value)}</td>
            <td>{label("Confidence")}<ScoreBadge score=l.confidence_score/>{l.confidence_score.map(|_| view! { <a class="why-link small" href=r.why.clone()>"Why"<span class="sr-only">{format!(": {}", r.metric.name())}</span></a> })}</td>
            <td class="num soft">{label("80 % interval of the confidence")}{interval}</td>
            <td>{label("30 days")}<Sparkline spark=spark(r.metric, scores)/></td>
            <td>{label("Speaks for today")}{r.currency.map(|c| chart::currency(c, format!("{:.0} %, {}", c * 100.0, r.age)))}</td>
            <td class="from">{label("Source and device")}{words::provider(&l.source)}{l.device.as_deref().map(|d| view! { <span class="soft">{format!(" · {}", text::cut(d, 40))}</span> })}
                <span class="remark">{words::why_source(&l.source, l.choice.as_deref(), l.sources)}</span></td>
            <td class="when">{label("Measured")}{day}{l.measured_at.map(|at| view! { <span class="remark"><TimeStamp at=text::moment(at.min(l.received_at), seen.now) plain=true/></span> })}</td>
            <td class="when">{label("Received")}<time datetime=received.iso title=received.full>{received.text}</time><span class="remark">{received.ago}</span></td>
        </tr>
    }
    .into_any()
}

fn spark(metric: Metric, scores: &[ScoreDay]) -> Spark {
    let mut days = vec![None; DAYS as usize];
    for s in scores.iter().filter(|s| s.metric_name == metric.key()) {
        if let Some(day) = usize::try_from(DAYS - 1 - s.age).ok().and_then(|i| days.get_mut(i)) {
            *day = Some(s.score);
        }
    }
    let with = days.iter().flatten().count();
    Spark {
        line: line(&days, 100.0, 20.0, 100.0),
        description: if with == 0 { "No scores in 30 days".into() } else { format!("Scores on {with} of the last {DAYS} days") },
    }
}

/// Metric by day: what came, and how far it could be trusted. A hollow field is a day without a value.
fn matrix(cells: &[StripCell], today: NaiveDate) -> AnyView {
    let first = today - Days::new(DAYS as u64 - 1);
    let by_key: HashMap<(&str, NaiveDate), Option<i32>> = cells.iter().map(|c| ((c.metric_name.as_str(), c.day), c.score)).collect();
    let rows: Vec<AnyView> = Metric::ALL
        .iter()
        .filter(|m| cells.iter().any(|c| c.metric_name == m.key()))
        .map(|m| {
            let of = |d: &NaiveDate| by_key.get(&(m.key(), *d)).copied();
            let days: Vec<Option<Option<i32>>> = first.iter_days().take(DAYS as usize).map(|d| of(&d)).collect();
            let tiers = Badge::ALL.map(|b| {
                let path: String = days
                    .iter()
                    .enumerate()
                    .filter(|(_, d)| d.is_some_and(|score| Badge::of(score) == b))
                    .map(|(i, _)| format!("M{} 1h9v9h-9Z", i * 11 + 1))
                    .collect();
                (!path.is_empty()).then(|| view! { <path class=format!("cell tier-{}", b.key()) d=path></path> })
            });
            let hollow: String = days.iter().enumerate().filter(|(_, d)| d.is_none()).map(|(i, _)| format!("M{} 5.5h2", i * 11 + 4)).collect();
            let came = days.iter().flatten().count();
            let poor = days.iter().flatten().filter(|s| s.is_some_and(|s| s < 40)).count();
            view! {
                <tr>
                    <th scope="row">{m.name()}</th>
                    <td><svg class="matrix" viewBox="0 0 331 11" width="331" height="11" role="img" aria-label=format!("{came} of {DAYS} days with a value, {poor} of them poor")>
                        <path class="hollow" d=hollow></path>{tiers.into_iter().collect_view()}
                    </svg></td>
                    <td class="num">{came}</td><td class="num">{poor}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    let span = format!("{} to {}", text::day(first, today), text::day(today, Utc::now().date_naive()));
    view! {
        <Panel title="What came, day by day" id="strip" class="flush">
            {if rows.is_empty() {
                view! { <Empty title="Nothing in 30 days"><p>"The newest values above are older."</p></Empty> }.into_any()
            } else {
                view! {
                    <ScrollTable caption="Values by metric and day, coloured by their badge">
                        <thead><tr><th scope="col">"Metric"</th><th scope="col">{span}</th><th scope="col" class="num">"Days"</th><th scope="col" class="num">"Poor"</th></tr></thead>
                        <tbody>{rows}</tbody>
                    </ScrollTable>
                }.into_any()
            }}
        </Panel>
    }
    .into_any()
}
