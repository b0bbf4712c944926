//! `/admin/webhooks?tab=replay`: stored deliveries through normalising and scoring once more, by filter, counted first.

use super::{
    super::{
        job_deeds::shown_at,
        letter_deeds::StopOperation,
        screen::{Cell, Form, Question, Running, Shown},
        webhook_deeds::ReplayDeliveries,
    },
    Query, deliveries, field, since, since_field, text,
};
use crate::{
    model::Instant,
    store::{
        operations::{self, Operation},
        replay::Filter,
        webhook_lists,
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

const NAMES: [&str; 6] = ["since", "type", "provider", "user", "status", "error"];
/// Conflicts and bodies that are not JSON are never processed.
const STATES: [&str; 7] = ["", "pending", "processing", "completed", "failed", "parked", "ignored"];

/// The filter of words from the URL or the form, at the moment of the question: the form carries it, so that what comes in between
/// question and press, or later, is not meant.
pub(in crate::pages::admin) fn filter(word: impl Fn(&str) -> String, now: Instant) -> Filter {
    let some = |name: &str| Some(word(name)).filter(|v| !v.is_empty());
    Filter {
        from: since(&word("since"), now),
        until: Some(now),
        kind: some("type"),
        provider: some("provider").map(|p| p.to_lowercase()),
        user_id: some("user"),
        status: some("status").filter(|s| STATES.contains(&s.as_str())),
        error: some("error"),
        ..Filter::default()
    }
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
    let found = if asked { webhook_lists::count_replay(conn, &filter(|n| query.get(n), now)).await? } else { 0 };
    let mut fields: Vec<(String, String)> = NAMES.map(|n| (n.to_owned(), query.get(n))).to_vec();
    fields.extend([shown_at(now), ("back".into(), href(query, &[]))]);
    let n = super::counted(found, webhook_lists::REPLAY_COUNTED);
    let text =
        format!("Process {n} stored deliveries again? What they say takes effect once, however often that happens; newer values stay.");
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Has stored deliveries normalised and scored again: after a mistake was mended, or a rule changed.".into(),
        tabs: deliveries::tabs("replay"),
        complaint: if asked && found == 0 { "No delivery matches; nothing would be done.".into() } else { String::new() },
        question: (found > 0).then(|| Question {
            text,
            verb: format!("Replay {n}"),
            action: ReplayDeliveries::url().into(),
            fields,
            back: href(query, &[]),
            ..Question::default()
        }),
        running: operations::list(conn, 20).await?.iter().filter(|o| shows(o, now)).map(|o| running(o, now)).collect(),
        form: Some(("Which deliveries".into(), "Counted first; nothing happens before you confirm.".into(), form(query))),
        ..Shown::default()
    })
}

fn form(query: &Query) -> Form {
    let word = |n: &str| query.get(n);
    Form {
        get: "/admin/webhooks".into(),
        fields: vec![
            since_field(&word("since")),
            field("type", "Type", &word("type"), &deliveries::TYPES),
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
        let pressed = filter(word, asked_at(&word("asked"), pressed));
        assert_eq!(webhook_lists::count_replay(&mut conn, &pressed).await.unwrap(), 1);
        assert!(pressed.until.is_some_and(|until| (asked - until).num_milliseconds() == 0) && pressed.from.is_some());
    }
}
