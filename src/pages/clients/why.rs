//! Why one day's score is what it is: its bars with rule, numbers and study, what is suspected, what would raise it, and
//! how it has been. Worked out by the scorer itself from what is stored, so it explains the very score that is stored.

use super::{
    findings::{self, Doubts},
    person::Seen,
    query::Query,
    trend, words,
};
use crate::{
    components::{Alert, LineChart, Panel, Plot, ScoreBadge, ScrollTable, TimeStamp, line, text},
    model::{Finding, Instant, Metric, Source, UploadKind},
    quality::{
        currency,
        explain::{self, Advice, Bar, Explanation, Which},
    },
    rescore,
    store::{
        confidence::{self, StoredScore},
        findings::Subject,
        series::{self, Point},
    },
};
use chrono::{Days, NaiveDate};
use leptos::prelude::*;
use sqlx::PgConnection;
use uuid::Uuid;

/// Days of the score's history, before and after the day.
const BEFORE: u64 = 45;
const AFTER: u64 = 14;

/// `None` when there is no value of this day.
pub(super) async fn page(
    conn: &mut PgConnection,
    seen: &Seen,
    metric: Metric,
    day: NaiveDate,
    query: &str,
) -> sqlx::Result<Option<AnyView>> {
    let user = &seen.person.user_id;
    let query = Query::parse("", query);
    let (Some(from), Some(to)) = (day.checked_sub_days(Days::new(BEFORE)), day.checked_add_days(Days::new(AFTER))) else { return Ok(None) };
    let points = series::points(conn, user, metric, from, to).await?;
    let wanted = query.get("source");
    let of_day: Vec<&Point> = points.iter().filter(|p| p.day == day).collect();
    // Without a source, or with one that has no value, the one that is taken.
    let Some(point) = of_day.iter().find(|p| p.source == wanted).or(of_day.first()).copied() else { return Ok(None) };
    let source = Source::from_provider(&point.source);
    let stored = confidence::score_of(conn, user, metric, &source, day).await?;
    let (delivery, origin) = series::origin(conn, user, metric, &point.source, day).await?.unzip();
    let context = rescore::context(conn, &seen.registry, user, day).await?;
    let which = Which { metric, source: &source, date: day };
    let explained = explain::explain(&context.values, &context.reviews, &seen.registry, which);
    let others: Vec<&Point> = of_day.iter().filter(|p| p.source != point.source).copied().collect();
    let it = Subject { user_id: user, metric, source: &source, date: day };
    let review = findings::server::about(conn, it, seen.now).await?.map(review);
    let own: Vec<&Point> = points.iter().filter(|p| p.source == point.source).collect();
    Ok(Some(
        view! {
            {head(seen, metric, day, point, &own)}
            {came(point, origin.unwrap_or_default().upload, delivery.filter(|_| seen.admin), seen.now)}
            {match explained {
                Some(e) => reasons(seen, metric, point, &e, stored.as_ref()),
                None if metric.is_vendor_score() => view! { <Alert tone="note">"A vendor’s own scale: there is no truth to be near, so it has no confidence."</Alert> }.into_any(),
                None => view! { <Alert tone="note">"It has no confidence: how this value came about is not known."</Alert> }.into_any(),
            }}
            {review}
            {(!others.is_empty()).then(|| other_sources(seen, metric, &others))}
            {history(&own, day, seen.now.date_naive())}
        }
        .into_any(),
    ))
}

/// The forms to decide about this very value, where it is doubted.
fn review(doubted: Doubts) -> AnyView {
    view! {
        <Panel title="Is it a fault?" id="decide" class="flush">
            <p class="panel-note soft small">{findings::MEANING}</p>
            {findings::table("This value and what was decided", doubted.rows, doubted.action)}
        </Panel>
    }
    .into_any()
}

fn address(seen: &Seen, metric: Metric, p: &Point) -> String {
    format!("{}/{}/{}?source={}", seen.href, metric.key(), p.day, text::segment(&p.source))
}

fn head(seen: &Seen, metric: Metric, day: NaiveDate, point: &Point, own: &[&Point]) -> AnyView {
    let at = own.iter().position(|p| p.day == day);
    let before = at.and_then(|i| i.checked_sub(1)).and_then(|i| own.get(i));
    let after = at.and_then(|i| own.get(i + 1));
    let step = |p: Option<&&Point>, arrow: &'static str, rel: &'static str| {
        p.map(|p| {
            let day = text::day(p.day, seen.now.date_naive());
            let word = if rel == "prev" { format!("{arrow} {day}") } else { format!("{day} {arrow}") };
            view! { <a class="button small" rel=rel href=address(seen, metric, p)>{word}</a> }
        })
    };
    view! {
        <nav class="crumbs" aria-label="Where you are"><a href="/clients">"People"</a>" / "<a href=seen.href.clone()>{seen.name()}</a>" / "<a href=format!("{}/{}", seen.href, metric.key())>{metric.name()}</a></nav>
        <div class="page-head">
            <div>
                <h1>"Why this score"</h1>
                <p class="lead">{format!("{} of {}: {}, from {}{}", metric.name(), text::date(day), words::amount(metric, point.value), words::provider(&point.source),
                    point.device.as_deref().map_or(String::new(), |d| format!(" ({})", text::cut(d, 40))))}</p>
            </div>
            <div class="page-figure"><ScoreBadge score=point.score/><span class="actions">{step(before, "←", "prev")}{step(after, "→", "next")}</span></div>
        </div>
    }
    .into_any()
}

/// How the value came here; administrators are led to the delivery that brought it.
fn came(point: &Point, upload: UploadKind, delivery: Option<Uuid>, now: Instant) -> AnyView {
    let device = point.device.as_deref().map(|d| format!(" · {}", text::cut(d, 40)));
    view! {
        <dl class="panel facts">
            <div><dt>"Came from"</dt><dd>{words::provider(&point.source)}{device}</dd></div>
            <div><dt>"Upload"</dt><dd>{words::upload(upload)}</dd></div>
            <div><dt>"Received"</dt><dd><TimeStamp at=text::moment(point.received_at, now)/></dd></div>
            {delivery.map(|id| view! { <div><dt>"Delivery"</dt><dd><a href=format!("/admin/webhooks/{id}")>"What was received"</a></dd></div> })}
        </dl>
    }
    .into_any()
}

fn reasons(seen: &Seen, metric: Metric, point: &Point, e: &Explanation, stored: Option<&StoredScore>) -> AnyView {
    let hours = currency::age_hours(point.measured_at, point.day, point.received_at, seen.now);
    let percent = |p: f64| (p * 100.0).round() as i32;
    let tolerance = seen.registry.rule(metric).map(|r| words::tolerance(metric, r.tolerance)).unwrap_or_default();
    let meaning = format!(
        "{} of 100 such values are within {tolerance} of the truth; by what is known the share lies between {} and {}.",
        e.score.score,
        percent(e.score.low),
        percent(e.score.high)
    );
    let late = stored.filter(|s| s.score.score != e.score.score).map(|s| {
        view! { <Alert tone="note">{format!("The stored score is {}: it was made by version {} of the scorer with registry {}. What follows explains how it is scored now; a recalculation brings the two together.", s.score.score, s.score.scorer_version, s.score.registry_version)}</Alert> }
    });
    let unscored =
        stored.is_none().then(|| view! { <Alert tone="note">"This value is not scored yet; this is the score it will get."</Alert> });
    let (bars, current) = (waterfall(&e.waterfall.bars, e.score.score), today(seen, metric, e, hours));
    view! {
        {late}{unscored}
        <Panel title="Where the points come from" id="waterfall" class="flush">
            <p class="panel-note soft">{meaning}</p>
            {bars}
            {current}
        </Panel>
        <div class="duo even">
            {doubts(metric, &e.score.findings, point.verdict.as_deref())}
            {advice(&e.advice, e.score.score)}
        </div>
    }
    .into_any()
}

/// A bar for each part, from where the one before ended. They add up to the score.
fn waterfall(bars: &[Bar], score: i32) -> AnyView {
    let mut sum = 0;
    let rows: Vec<AnyView> = bars
        .iter()
        .map(|bar| {
            let (from, to) = (sum, sum + bar.points);
            sum = to;
            waterfall_row(bar, from, to)
        })
        .collect();
    view! {
        <ScrollTable caption="The parts of the score, in the order in which they are applied">
            <thead><tr><th scope="col">"Part"</th><th scope="col" class="num">"Points"</th><th scope="col">"0 to 100"</th><th scope="col">"Rule, numbers, study"</th></tr></thead>
            <tbody class="waterfall stack">
                {rows}
                <tr class="sum"><th scope="row">"Score"</th><td class="num value">{score}</td><td class="bar">{strip(0, score, "total")}</td><td class="full"><ScoreBadge score=Some(score)/></td></tr>
            </tbody>
        </ScrollTable>
    }
    .into_any()
}

fn waterfall_row(bar: &Bar, from: i32, to: i32) -> AnyView {
    let first = from == 0 && bar.part == crate::quality::Part::Evidence;
    let (class, sign) = match bar.points {
        _ if first => ("start", ""),
        0 => ("none", "±"),
        p if p > 0 => ("gain", "+"),
        _ => ("loss", "−"),
    };
    let study = bar.study.as_ref().map(|s| {
        let n = s.n.map_or(String::new(), |n| format!(", {n} participants"));
        let funder = s.funder.as_deref().map_or(String::new(), |f| format!(", paid by {f}"));
        view! { <span class="remark"><cite>{s.study.clone()}</cite>{format!(": {}{}{n}{funder}", if s.device.is_empty() { String::new() } else { format!("{}, ", s.device) }, s.published)}</span> }
    });
    view! {
        <tr>
            <th scope="row">{bar.part.name()}</th>
            <td class="num value">{format!("{sign}{}", bar.points.unsigned_abs())}</td>
            <td class="bar">{strip(from, to, class)}</td>
            <td class="rule full"><span>{bar.rule.clone()}</span>{(!bar.numbers.is_empty()).then(|| view! { <span class="numbers">{words::readable(&bar.numbers)}</span> })}{study}</td>
        </tr>
    }
    .into_any()
}

/// A bar between two points of 0 to 100.
fn strip(from: i32, to: i32, class: &'static str) -> AnyView {
    let (low, high) = (from.min(to).clamp(0, 100), from.max(to).clamp(0, 100));
    let width = f64::from(high - low).max(0.6);
    view! {
        <svg class="fall" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
            <path class="plot-grid" d="M40 0V10M60 0V10M80 0V10"></path>
            <rect class=format!("fall-{class}") x=low width=width y="1" height="8"></rect>
        </svg>
    }
    .into_any()
}

/// Age is no part of the score; it is shown beside it.
fn today(seen: &Seen, metric: Metric, e: &Explanation, hours: f64) -> AnyView {
    let Some(share) = currency::currency(&seen.registry, metric, hours) else { return ().into_any() };
    let live = currency::live_score(&seen.registry, metric, e.score.probability, hours).unwrap_or_default();
    let half = seen.registry.rule(metric).map_or(0.0, |r| r.half_life_hours);
    let half = if half < 48.0 { format!("{half:.0} hours") } else { format!("{:.0} days", half / 24.0) };
    view! {
        <p class="panel-note after">{super::chart::currency(share, format!("{}, so it speaks for today with {live}. What a value says halves in {half}; the score itself does not age.", currency::age_in_words(hours)))}</p>
    }
    .into_any()
}

/// What is suspected, and what a person said of it.
fn doubts(metric: Metric, findings: &[Finding], verdict: Option<&str>) -> AnyView {
    let said = verdict.map(|v| match v {
        "confirmed" => "A person looked at this value and confirmed that it is a fault.",
        _ => "A person looked at this value and dismissed the doubt: the value is right. What had been found:",
    });
    let all = findings.iter().map(|f| {
        let about = f.metric.filter(|m| *m != metric).map(|m| format!(" ({})", m.name()));
        let repair = f.proposed.map(|v| {
            let reading = words::amount(f.metric.unwrap_or(metric), v);
            view! { <p>"Suggested reading: "<strong>{reading}</strong>". The value itself is never changed."</p> }
        });
        view! { <li><strong>{capital(&words::kind_word(f.kind))}</strong>{about}<p class="soft">{words::readable(&f.detail)}</p>{repair}</li> }
            .into_any()
    });
    let all: Vec<AnyView> = all.collect();
    view! {
        <Panel title="What is suspected" id="findings">
            {if all.is_empty() {
                view! { <p class="soft">"Nothing. No rule found a fault in this value."</p> }.into_any()
            } else {
                view! { {said.map(|s| view! { <p>{s}</p> })}<ul class="findings">{all}</ul> }.into_any()
            }}
        </Panel>
    }
    .into_any()
}

fn advice(all: &[Advice], score: i32) -> AnyView {
    let rows = all.iter().map(|a| {
        let gain = (a.points > 0).then(|| view! { <strong class="num">{format!("+{}", a.points)}</strong> });
        let to = (a.points > 0).then(|| view! { <span class="soft small">{format!("{score} → {}", score + a.points)}</span> });
        view! { <li>{gain}<span>{capital(&a.text)}</span>{to}</li> }.into_any()
    });
    let rows: Vec<AnyView> = rows.collect();
    view! {
        <Panel title="What would raise it" id="advice">
            <ul class="advice">{rows}</ul>
            <p class="soft small">"Each answer is the score worked out again with that one thing changed."</p>
        </Panel>
    }
    .into_any()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// The other values of the day: kept, shown, each with its own reasons.
fn other_sources(seen: &Seen, metric: Metric, others: &[&Point]) -> AnyView {
    let rows = others.iter().map(|p| {
        let (href, name, amount) = (address(seen, metric, p), words::provider(&p.source), words::amount(metric, p.value));
        view! { <li><a href=href>{name}</a><span class="value">{amount}</span><ScoreBadge score=p.score/></li> }.into_any()
    });
    let rows: Vec<AnyView> = rows.collect();
    view! { <Panel title="Other sources of this day" id="others"><ul class="advice">{rows}</ul></Panel> }.into_any()
}

/// The scores of this source around the day.
fn history(own: &[&Point], day: NaiveDate, today: NaiveDate) -> AnyView {
    let (Some(first), Some(last)) = (own.first().map(|p| p.day), own.last().map(|p| p.day)) else { return ().into_any() };
    let score = |d: NaiveDate| own.iter().find(|p| p.day == d).and_then(|p| p.score);
    let days: Vec<NaiveDate> = first.iter_days().take_while(|d| *d <= last).collect();
    let scores: Vec<Option<f64>> = days.iter().map(|d| score(*d).map(f64::from)).collect();
    let label = |d: &NaiveDate| text::day(*d, today);
    let scored = scores.iter().flatten().count();
    let plot = Plot {
        line: line(&scores, 1000.0, 100.0, 100.0),
        description: format!(
            "The score from {} to {}: {} with a score",
            label(&first),
            label(&last),
            text::plural(scored as i64, "day", "days")
        ),
        ticks: [days.first(), days.get(days.len() / 2), days.last()].into_iter().flatten().map(label).collect(),
        rows: days
            .iter()
            .rev()
            .filter_map(|d| {
                let p = own.iter().find(|p| p.day == *d)?;
                let mark = if *d == day { " (this one)" } else { "" };
                Some((
                    format!("{}{mark}", label(d)),
                    p.score.map_or("not scored".into(), |s| s.to_string()),
                    if trend::doubted(p) { "yes" } else { "no" }.to_string(),
                ))
            })
            .collect(),
        empty: scored == 0,
    };
    view! {
        <Panel title="The score around this day" id="history">
            {if plot.empty { view! { <p class="soft">"No scores."</p> }.into_any() } else { view! { <LineChart plot caption="Score by day" heads=["Day", "Score", "Doubted"]/> }.into_any() }}
        </Panel>
    }
    .into_any()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::quality::Part;

    #[test]
    fn the_bars_of_the_page_end_at_the_score() {
        let bar = |part, points| Bar { part, points, rule: "r".into(), numbers: String::new(), study: None };
        let bars = [bar(Part::Evidence, 84), bar(Part::Plausibility, -31), bar(Part::Completeness, 0), bar(Part::Concordance, 6)];
        let html = waterfall(&bars, 59).to_html();
        assert!(html.contains("x=\"53\" width=\"31\"") && html.contains("x=\"53\" width=\"6\""), "{html}");
        assert!(html.contains("x=\"0\" width=\"59\""), "{html}");
        for word in ["−31", "+6", "±0"] {
            assert!(html.contains(word), "{word}");
        }
    }

    #[test]
    fn a_value_says_how_it_came_and_leads_administrators_to_its_delivery() {
        let point = trend::tests::point(3, "garmin", 50.0, 80);
        let now = point.received_at + chrono::TimeDelta::hours(3);
        let html = came(&point, UploadKind::Manual, Some(Uuid::from_u128(7)), now).to_html();
        for part in ["Garmin", "entered or altered by hand", "3 h ago", "/admin/webhooks/00000000-0000-0000-0000-000000000007"] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!came(&point, UploadKind::Manual, None, now).to_html().contains("/admin/"));
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let finding =
            Finding { kind: crate::model::FindingKind::BadField, metric: None, detail: "<script>alert(1)</script>".into(), proposed: None };
        let html = doubts(Metric::Steps, &[finding], None).to_html();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
    }

    #[test]
    fn a_dismissed_doubt_says_that_a_person_dismissed_it() {
        let finding =
            Finding { kind: crate::model::FindingKind::Disagreement, metric: None, detail: "WHOOP says more".into(), proposed: None };
        let html = |verdict| doubts(Metric::Steps, std::slice::from_ref(&finding), verdict).to_html();
        assert!(html(Some("dismissed")).contains("dismissed the doubt") && html(Some("dismissed")).contains("WHOOP says more"));
        assert!(html(Some("confirmed")).contains("confirmed that it is a fault"));
        assert!(!html(None).contains("A person"));
    }

    /// One day in two hundred is far off, a hundred and sixty days ago: no list of doubts reaches so far back.
    const WORLD: &str = r#"
        INSERT INTO persons (user_id) VALUES ('u');
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
        SELECT 'u', 'resting_heart_rate', 'garmin', date '2026-01-01' + d, CASE WHEN d IN (40, 45) THEN 110 WHEN d = 50 THEN 900 ELSE 52 + d % 3 END,
               'bpm', d, 't' || d, now(), gen_random_uuid(), '{"model": "daily", "upload": "automatic"}'
          FROM generate_series(0, 200) AS d;
        INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict, note)
        VALUES ('u', 'resting_heart_rate', 'garmin', date '2026-01-01' + 45, 'dismissed', 'fever')"#;

    #[tokio::test]
    async fn an_old_doubt_can_be_decided_and_taken_back_where_it_is_explained() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        rescore::rescore_persons(&mut conn, &[("u".to_owned(), None)]).await.unwrap();
        let registry = rescore::registry(&mut conn).await.unwrap();
        let person = crate::store::clients::person(&mut conn, "u").await.unwrap().unwrap();
        let seen = Seen { person, admin: false, registry, now: chrono::Utc::now(), href: "/clients/u".into() };
        let mut html = async |n: u64| {
            let day = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + Days::new(n);
            page(&mut conn, &seen, Metric::RestingHeartRate, day, "").await.unwrap().unwrap().to_html()
        };
        let (open, dismissed, impossible, sound) = (html(40).await, html(45).await, html(50).await, html(60).await);
        assert!(open.contains("It is a fault") && open.contains("It is right"), "{open}");
        assert!(dismissed.contains("Take back") && dismissed.contains("fever") && dismissed.contains("dismissed the doubt"), "{dismissed}");
        assert!(impossible.contains("It is a fault") && !impossible.contains("It is right"), "{impossible}");
        assert!(!sound.contains("Is it a fault?") && !sound.contains("Take back"), "{sound}");
    }
    #[tokio::test]
    async fn units_and_dates_are_those_that_the_reader_chose() {
        use crate::components::preferences::{Preferences, REQUEST};
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO persons (user_id) VALUES ('u');
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
             SELECT 'u', 'weight', 'withings', date '2025-01-01' + d, 80 + d % 2 * 0.4, 'kg', d, 't' || d, now(), gen_random_uuid(),
                    '{\"model\": \"body\", \"upload\": \"automatic\"}' FROM generate_series(0, 20) AS d",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        rescore::rescore_persons(&mut conn, &[("u".to_owned(), None)]).await.unwrap();
        let registry = rescore::registry(&mut conn).await.unwrap();
        let person = crate::store::clients::person(&mut conn, "u").await.unwrap().unwrap();
        let seen = Seen { person, admin: false, registry, now: chrono::Utc::now(), href: "/clients/u".into() };
        let day = NaiveDate::from_ymd_opt(2025, 1, 11).unwrap();
        let chosen = Preferences::from_words("Europe/Zurich", "imperial", "de");
        let html = REQUEST.scope(chosen, async { page(&mut conn, &seen, Metric::Weight, day, "").await.unwrap().unwrap().to_html() }).await;
        for part in [
            "11. Jan. 2025",
            "176.4 lb",
            "are within ±1.1 lb of the truth",
            "10. Jan. 2025",
            "The score from 1. Jan. 2025 to 21. Jan. 2025",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        for part in ["11 January", "10 Jan", "±0.5 kg of the truth"] {
            assert!(!html.contains(part), "{part}: {html}");
        }
    }
}
