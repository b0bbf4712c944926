//! `/admin/webhooks?tab=replay`: stored deliveries through normalising and scoring once more, by filter, counted first.

use super::{
    super::{
        job_deeds::shown_at,
        letter_deeds::StopOperation,
        screen::{Cell, Form, Question, Running, Shown},
        webhook_deeds::ReplayDeliveries,
    },
    Field, Query, deliveries, field, since, since_field, text,
};
use crate::{
    components::preferences,
    model::Instant,
    store::{
        operations::{self, Operation},
        replay::Filter,
        webhook_lists,
    },
};
use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

const NAMES: [&str; 8] = ["since", "from", "until", "type", "provider", "user", "status", "error"];
/// Conflicts and bodies that are not JSON are never processed.
const STATES: [&str; 7] = ["", "pending", "processing", "completed", "failed", "parked", "ignored"];

/// The filter of words from the URL or the form, at the moment of the question: the form carries it, so that what comes in between
/// question and press, or later, is not meant. What is wrong with it, in a sentence: nothing wrong may widen it.
pub(in crate::pages::admin) fn filter(word: impl Fn(&str) -> String, now: Instant) -> Result<Filter, String> {
    let some = |name: &str| Some(word(name)).filter(|v| !v.is_empty());
    let time = |name: &str| some(name).map(|w| moment(&w)).transpose();
    if let Some(word) = some("since").filter(|w| since(w, now).is_none()) {
        return Err(format!("“{}” is no time of the list.", text::cut(&word, 40)));
    }
    let filter = Filter {
        // Whichever begins later, and ends earlier.
        from: since(&word("since"), now).max(time("from")?),
        until: Some(time("until")?.map_or(now, |until| until.min(now))),
        kind: some("type"),
        provider: some("provider").map(|p| p.to_lowercase()),
        user_id: some("user"),
        status: some("status"),
        error: some("error"),
        ..Filter::default()
    };
    match filter.problem() {
        Some(problem) => Err(problem),
        None => Ok(filter),
    }
}

/// A time as the form's field gives it, in the reader's zone, or as the question carries it, with its own. An hour that the
/// clock shows twice is its first; one that it skips, the one after.
fn moment(word: &str) -> Result<Instant, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(word) {
        return Ok(at.to_utc());
    }
    let zone = preferences::current().zone;
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|form| NaiveDateTime::parse_from_str(word, form).ok());
    local
        .and_then(|at| {
            zone.from_local_datetime(&at)
                .earliest()
                .or_else(|| zone.from_local_datetime(&at.checked_add_signed(TimeDelta::hours(1))?).earliest())
        })
        .map(|at| at.to_utc())
        .ok_or_else(|| format!("“{}” is no time; enter one as 2026-11-23T18:00, or nothing.", text::cut(word, 40)))
}

fn href(query: &Query, more: &[(&str, &str)]) -> String {
    let words = NAMES.map(|n| (n, query.get(n)));
    let mut pairs = vec![("tab", "replay")];
    pairs.extend(words.iter().map(|(n, v)| (*n, v.as_str())));
    pairs.extend(more);
    Query::href("webhooks", &pairs)
}

/// The form; once asked, how many deliveries would be replayed, and the question.
pub(super) async fn page(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let asked = query.get("ask") == "replay";
    let (filter, problem) = match filter(|n| query.get(n), now) {
        Ok(filter) => (Some(filter), String::new()),
        Err(problem) => (None, problem),
    };
    let found = match filter.as_ref().filter(|_| asked) {
        Some(filter) => webhook_lists::count_replay(conn, filter).await?,
        None => 0,
    };
    let complaint = match &filter {
        Some(_) if asked && found == 0 => "No delivery matches; nothing would be done.".into(),
        _ => problem,
    };
    let n = super::counted(found, webhook_lists::REPLAY_COUNTED);
    let what = if found == 1 { "1 stored delivery".to_owned() } else { format!("{n} stored deliveries") };
    let said = if found == 1 { "it says" } else { "they say" };
    let text = format!("Process {what} again? What {said} takes effect once, however often that happens; newer values stay.");
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Has stored deliveries normalised and scored again: after a mistake was mended, or a rule changed.".into(),
        tabs: deliveries::tabs("replay"),
        complaint,
        question: (found > 0).then(|| Question {
            text,
            verb: format!("Replay {n}"),
            action: ReplayDeliveries::url().into(),
            fields: carried(query, now),
            back: href(query, &[]),
            ..Question::default()
        }),
        running: operations::list(conn, 20).await?.iter().filter(|o| shows(o, now)).map(|o| running(o, now)).collect(),
        form: Some(("Which deliveries".into(), note(), form(query))),
        ..Shown::default()
    })
}

fn note() -> String {
    format!("Counted first; nothing happens before you confirm. Times are those of your zone, {}.", preferences::current().zone.name())
}

/// The words of the filter for the press, and the moment. Times go with their zone: the reader may have chosen another one by then.
fn carried(query: &Query, now: Instant) -> Vec<(String, String)> {
    let word = |name: &str| match name {
        // Not after now, which is what was counted; and far years have no such form.
        "from" | "until" => {
            moment(&query.get(name)).map_or_else(|_| String::new(), |at| at.min(now).to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        name => query.get(name),
    };
    let mut fields: Vec<(String, String)> = NAMES.map(|n| (n.to_owned(), word(n))).to_vec();
    fields.extend([shown_at(now), ("back".into(), href(query, &[]))]);
    fields
}

fn form(query: &Query) -> Form {
    let word = |n: &str| query.get(n);
    let time = |name: &str, label: &str| Field { kind: "datetime-local", ..field(name, label, &word(name), &[]) };
    Form {
        get: "/admin/webhooks".into(),
        fields: vec![
            since_field(&word("since")),
            time("from", "From"),
            time("until", "Until"),
            field("type", "Type", &word("type"), &deliveries::types()),
            field("status", "State", &word("status"), &STATES),
            field("provider", "Provider", &word("provider"), &[]),
            field("user", "Person", &word("user"), &[]),
            field("error", "Remark holds", &word("error"), &[]),
        ],
        hidden: vec![("tab".into(), "replay".into())],
        buttons: vec![("Count them".into(), "ask".into(), "replay".into())],
        ..Form::default()
    }
}

/// A replay that goes on, or ended within the last ten minutes.
fn shows(o: &Operation, now: Instant) -> bool {
    o.kind == "replay" && (o.state == "running" || o.finished_at.is_some_and(|at| now - at < TimeDelta::minutes(10)))
}

fn running(o: &Operation, now: Instant) -> Running {
    let done = o.done + o.failed;
    let share = if o.total > 0 { (done * 100 / o.total).clamp(0, 100) as u32 } else { 100 };
    let stop = vec![("id".to_owned(), o.id.to_string()), ("back".to_owned(), "/admin/webhooks?tab=replay".to_owned())];
    let left = o.remaining_seconds(now).map(|s| format!(", about {} left", text::span(TimeDelta::seconds(s.ceil() as i64))));
    let failed = if o.failed > 0 { format!(", {} failed", text::count(o.failed)) } else { String::new() };
    Running {
        label: format!(
            "Replayed {} of {}{failed}{}, started by {}",
            text::count(done),
            text::count(o.total),
            left.unwrap_or_default(),
            o.started_by
        ),
        percent: if o.state == "running" { share.min(99) } else { share },
        state: o.state.clone(),
        deed: if o.state == "running" { Cell::Buttons(vec![("Stop".into(), StopOperation::url().into(), stop)]) } else { Cell::None },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{pages::admin::job_deeds::asked_at, store::testing};
    use chrono::DurationRound;

    #[tokio::test]
    async fn the_question_carries_the_moment_up_to_which_it_counted() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO terra_webhooks_raw (id, trace_id, type, provider, status, ordering_ms, body, created_at)
             SELECT app.uuid_v7(), 't' || n, 'daily', 'oura', 'completed', n, '{}', now() - interval '1 hour' + make_interval(mins => n * 40)
               FROM generate_series(1, 2) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let asked = chrono::Utc::now() - TimeDelta::seconds(1);
        let question = page(&mut conn, &Query::parse("tab=replay&type=daily&since=24h&ask=replay"), asked).await.unwrap().question.unwrap();
        assert_eq!(question.verb, "Replay 1", "the other one is received later");
        let word = |name: &str| question.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
        let pressed = asked + TimeDelta::hours(1);
        let pressed = filter(word, asked_at(&word("asked"), pressed)).unwrap();
        assert_eq!(webhook_lists::count_replay(&mut conn, &pressed).await.unwrap(), 1);
        assert!(pressed.until.is_some_and(|until| (asked - until).num_milliseconds() == 0) && pressed.from.is_some());
    }
    #[tokio::test]
    async fn a_span_of_time_leaves_out_what_lies_outside_of_it() {
        let t = testing::database().await;
        let now = chrono::Utc::now().duration_trunc(TimeDelta::minutes(1)).unwrap();
        sqlx::query(
            "INSERT INTO terra_webhooks_raw (id, trace_id, type, provider, status, ordering_ms, body, created_at)
             SELECT app.uuid_v7(), 't' || n, 'access_revoked', 'oura', 'completed', n, '{}', $1 - make_interval(hours => n)
               FROM generate_series(1, 6) n",
        )
        .bind(now)
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let tokyo = preferences::Preferences::from_words("Asia/Tokyo", "metric", "iso");
        let word = |hours: i64| (now - TimeDelta::hours(hours)).with_timezone(&tokyo.zone).format("%Y-%m-%dT%H:%M").to_string();
        // What was received four hours ago to the minute belongs to it, what came two hours ago no more.
        let query = format!("tab=replay&type=access_revoked&from={}&until={}&ask=replay", text::segment(&word(4)), text::segment(&word(2)));
        let shown = preferences::REQUEST.scope(tokyo, page(&mut conn, &Query::parse(&query), now)).await.unwrap();
        let question = shown.question.unwrap();
        assert_eq!(question.verb, "Replay 2", "{}", shown.complaint);
        // The press means the same, whatever zone its reader has.
        let carried = |name: &str| question.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
        let pressed = filter(carried, asked_at(&carried("asked"), chrono::Utc::now())).unwrap();
        assert_eq!(webhook_lists::count_replay(&mut conn, &pressed).await.unwrap(), 2);
        let fields = shown.form.unwrap().2.fields;
        assert!(fields.iter().any(|f| f.name == "from" && f.kind == "datetime-local" && f.value == word(4)), "{fields:?}");
        // What is no time, or ends before it begins, is refused and not left out.
        for (from, until) in [("yesterday", ""), ("2026-01-02T00:00", "2026-01-01T00:00")] {
            let query = format!("tab=replay&from={from}&until={until}&ask=replay");
            let shown = page(&mut conn, &Query::parse(&query), now).await.unwrap();
            assert!(shown.question.is_none() && shown.complaint.contains(" time"), "{from}: {}", shown.complaint);
        }
        for word in ["status=conflict", "status=lost", "since=6h"] {
            let shown = page(&mut conn, &Query::parse(&format!("tab=replay&{word}&ask=replay")), now).await.unwrap();
            assert!(shown.question.is_none() && !shown.complaint.is_empty(), "{word}");
        }
    }

    #[test]
    fn hours_that_the_clock_skips_or_shows_twice_are_some_hour() {
        let zurich = preferences::Preferences::from_words("Europe/Zurich", "metric", "iso");
        let at = |word: &str| preferences::REQUEST.sync_scope(zurich, || moment(word).unwrap().to_rfc3339());
        assert_eq!(at("2026-03-29T02:30"), "2026-03-29T01:30:00+00:00");
        assert_eq!(at("2026-10-25T02:30"), "2026-10-25T00:30:00+00:00");
        assert_eq!(at("2026-10-25T02:30:00Z"), "2026-10-25T02:30:00+00:00");
        assert!(moment("").is_err() && moment("25.10.2026").is_err());
    }

    #[test]
    fn every_type_that_is_understood_can_be_chosen() {
        for word in ["", "s3_payload", "connection_error", "large_request_sending", "auth_cancelled"] {
            assert!(deliveries::types().contains(&word), "{word}");
        }
    }
}
