//! `/admin/dead-letters`: jobs that are out of attempts, grouped by what their errors have in common.

use super::{
    super::{
        job_deeds::shown_at,
        letter_deeds::{DiscardGroup, RedriveGroup, StopOperation},
        screen::{Cell, Part, Question, Running, Shown},
    },
    Chip, PAGE, Query, chip, person, place, since_field, text, time, words,
};
use crate::{
    model::Instant,
    store::{
        dead_letters,
        letter_lists::{self as store, Filter, Group, WINDOW},
        operations::{self, Operation},
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

/// Groups a page.
const GROUPS: i64 = 100;
/// No list of groups goes on beyond this page.
const LAST_PAGE: i64 = 1000;

/// The views of the page.
fn tabs(current: &str) -> Vec<Chip> {
    [("", "Open"), ("dealt", "Dealt with")]
        .map(|(tab, words)| chip(words, String::new(), Query::href("dead-letters", &[("tab", tab)]), tab == current))
        .to_vec()
}

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let there = dead_letters::exists(conn).await?;
    let running = operations::list(conn, 20).await?.iter().filter(|o| shows(o, now)).map(running).collect();
    let shown = Shown {
        title: "Dead letters".into(),
        lead: "Jobs that used up their attempts or failed for good. Mend the cause, then bring a whole group back.".into(),
        taken: Some(text::moment(now, now)),
        warning: if there {
            String::new()
        } else {
            "The dead-letter table was dropped; failed jobs are no longer copied. `assay migrate --repair` puts it back.".into()
        },
        running,
        ..Shown::default()
    };
    if query.get("tab") == "dealt" {
        return Ok(Shown { tabs: tabs("dealt"), parts: vec![dealt_with(conn, query, now).await?], ..shown });
    }
    let (kind, group, (since, from)) = (query.get("kind"), query.get("group"), query.since(now));
    let by_kind = Some(kind.as_str()).filter(|k| !k.is_empty());
    if group.is_empty() {
        let page = query.get("page").parse::<i64>().unwrap_or(1).clamp(1, LAST_PAGE);
        let filter = Filter { since: from, kind: by_kind, fingerprint: None };
        let groups = store::groups(conn, &filter, GROUPS, (page - 1) * GROUPS).await?;
        return Ok(Shown { tabs: tabs(""), parts: vec![table(&groups, &kind, &since, page, now)], ..shown });
    }
    // Asked for by itself: however small it is, it can be dealt with.
    let filter = Filter { since: from, kind: Some(&kind), fingerprint: Some(&group) };
    let chosen = store::groups(conn, &filter, 1, 0).await?.into_iter().next();
    Ok(Shown {
        up: Some((Query::href("dead-letters", &[("since", &since)]), "All groups".into())),
        deeds: chosen.iter().map(|g| redrive(g, &since, &back(g, &since), now)).collect(),
        question: chosen.filter(|_| query.get("ask") == "discard").map(|g| question(&g, &since, now)),
        parts: vec![letters(conn, query, (&kind, &group, &since, from), now).await?],
        ..shown
    })
}

fn back(g: &Group, since: &str) -> String {
    Query::href("dead-letters", &[("kind", &g.kind), ("group", &g.fingerprint), ("since", since)])
}

fn table(groups: &[Group], kind: &str, since: &str, page: i64, now: Instant) -> Part {
    let (letters, all) = groups.first().map_or((0, 0), |g| (g.letters, g.groups));
    let more = if letters >= WINDOW { "+" } else { "" };
    let here = |page: &str| Query::href("dead-letters", &[("kind", kind), ("since", since), ("page", page)]);
    Part {
        title: format!("{}{more} open letters in {}{more} groups", text::count(letters), text::count(all)),
        note: if more.is_empty() {
            "Errors that differ only in ids and numbers are one group.".into()
        } else {
            "Errors that differ only in ids and numbers are one group. Counted are the newest 100,000 letters.".into()
        },
        fields: vec![super::Field { label: "Died".into(), ..since_field(since) }, super::field("kind", "Kind", kind, &[])],
        heads: ["Error", "Kind", "How", "#Open", "First", "Last", "Actions"].map(String::from).to_vec(),
        rows: groups.iter().map(|g| group_row(g, since, now)).collect(),
        sorted: Some(3),
        next: if page * GROUPS < all && page < LAST_PAGE { here(&(page + 1).to_string()) } else { String::new() },
        first: if page > 1 { here("") } else { String::new() },
        filtered: !since.is_empty() || !kind.is_empty() || page > 1,
        empty: "No job is out of attempts.".into(),
        ..Part::default()
    }
}

/// What was brought back or thrown away, by whom and why.
async fn dealt_with(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Part> {
    let mut rows = store::dealt_with(conn, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| Query::href("dead-letters", &[("tab", "dealt"), ("before", before)]);
    Ok(Part {
        title: "Letters that were dealt with, newest first".into(),
        heads: ["Job", "Error", "What", "By", "When", "Note"].map(String::from).to_vec(),
        rows: rows
            .iter()
            .map(|d| {
                vec![
                    Cell::Link(format!("/admin/jobs/{}", d.original_job_id), d.kind.clone()),
                    words(d.error.as_deref().map(|e| text::cut(e, 200)).as_deref()),
                    Cell::Text(if d.discarded { "discarded".into() } else { "brought back".into() }),
                    words(d.by.as_deref()),
                    time(Some(d.at), now),
                    words(Some(&d.note)),
                ]
            })
            .collect(),
        sorted: Some(4),
        next: rows.last().filter(|_| more).map(|d| here(&place((d.at, d.id)))).unwrap_or_default(),
        first: if query.before().is_some() { here("") } else { String::new() },
        filtered: query.before().is_some(),
        clear: here(""),
        empty: "No letter was brought back or discarded yet.".into(),
        ..Part::default()
    })
}

/// The group in a form, as it was at this moment.
fn key(g: &Group, since: &str, back: &str, now: Instant) -> Vec<(String, String)> {
    let mut fields = [("kind", g.kind.as_str()), ("fingerprint", &g.fingerprint), ("since", since), ("back", back)]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .to_vec();
    fields.push(shown_at(now));
    fields
}

fn redrive(g: &Group, since: &str, back: &str, now: Instant) -> Cell {
    let discard = Query::href("dead-letters", &[("kind", &g.kind), ("group", &g.fingerprint), ("since", since), ("ask", "discard")]);
    Cell::Group(vec![
        Cell::Buttons(vec![(format!("Bring {} back", text::count(g.open)), RedriveGroup::url().into(), key(g, since, back, now))]),
        Cell::Link(discard, format!("Discard {}…", text::count(g.open))),
    ])
}

fn question(g: &Group, since: &str, now: Instant) -> Question {
    let back = back(g, since);
    Question {
        text: format!("Discard {} dead letters of kind {}? Their jobs are closed and will not run again.", text::count(g.open), g.kind),
        verb: format!("Discard {}", text::count(g.open)),
        action: DiscardGroup::url().into(),
        fields: key(g, since, &Query::href("dead-letters", &[("since", since)]), now),
        remark: "note".into(),
        back,
    }
}

fn group_row(g: &Group, since: &str, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Noted(back(g, since), text::cut(g.error.as_deref().unwrap_or("no error text"), 160), format!("group {}", g.fingerprint)),
        Cell::Code(g.kind.clone()),
        Cell::Text(g.reason_class.clone()),
        Cell::Number(text::count(g.open)),
        time(Some(g.first_at), now),
        time(Some(g.last_at), now),
        redrive(g, since, &Query::href("dead-letters", &[("since", since)]), now),
    ]
}

async fn letters(
    conn: &mut PgConnection,
    query: &Query,
    (kind, group, since, from): (&str, &str, &str, Option<Instant>),
    now: Instant,
) -> sqlx::Result<Part> {
    let mut rows = store::of_group(conn, group, kind, from, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| Query::href("dead-letters", &[("kind", kind), ("group", group), ("since", since), ("before", before)]);
    Ok(Part {
        title: format!("Letters of group {group}, newest first"),
        heads: ["Job", "Error", "How", "Person", "#Attempts", "Died"].map(String::from).to_vec(),
        rows: rows
            .iter()
            .map(|l| {
                vec![
                    Cell::Link(format!("/admin/jobs/{}", l.original_job_id), l.kind.clone()),
                    words(l.error.as_deref().map(|e| text::cut(e, 200)).as_deref()),
                    Cell::Text(l.reason_class.clone()),
                    person(l.user_id.as_deref()),
                    Cell::Number(l.attempts.to_string()),
                    time(Some(l.failed_at), now),
                ]
            })
            .collect(),
        sorted: Some(5),
        next: rows.last().filter(|_| more).map(|l| here(&place((l.failed_at, l.id)))).unwrap_or_default(),
        first: if query.before().is_some() { here("") } else { String::new() },
        filtered: true,
        ..Part::default()
    })
}

/// An operation on dead letters that goes on, or ended within the last ten minutes.
fn shows(o: &Operation, now: Instant) -> bool {
    matches!(o.kind.as_str(), "redrive" | "discard")
        && (o.state == "running" || o.finished_at.is_some_and(|at| now - at < TimeDelta::minutes(10)))
}

fn running(o: &Operation) -> Running {
    let share = if o.total > 0 { (o.done * 100 / o.total).clamp(0, 100) as u32 } else { 100 };
    let stop = vec![("id".to_owned(), o.id.to_string()), ("back".to_owned(), "/admin/dead-letters".to_owned())];
    let deed = if o.kind == "discard" { "Discarding" } else { "Bringing back" };
    Running {
        label: format!("{deed} {} of {}, started by {}", text::count(o.done), text::count(o.total), o.started_by),
        percent: if o.state == "running" { share.min(99) } else { share },
        state: o.state.clone(),
        deed: if o.state == "running" { Cell::Buttons(vec![("Stop".into(), StopOperation::url().into(), stop)]) } else { Cell::None },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn totals_are_of_all_groups_and_the_smallest_one_can_be_dealt_with() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint)
             SELECT gen_random_uuid(), 'a', '{}', 'e', 'f' || n FROM generate_series(1, 130) n, generate_series(1, CASE WHEN n = 130 THEN 1 ELSE 2 END)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let mut shown = async |query: &str| list(&mut conn, &Query::parse(query), now).await.unwrap();
        let first = shown("").await.parts.remove(0);
        assert_eq!((first.title.as_str(), first.rows.len()), ("259 open letters in 130 groups", 100));
        assert_eq!(first.next, "/admin/dead-letters?page=2");
        let second = shown("page=2").await.parts.remove(0);
        assert_eq!((second.title.as_str(), second.rows.len(), second.next.as_str()), ("259 open letters in 130 groups", 30, ""));
        let smallest = shown("kind=a&group=f130&ask=discard").await;
        assert!(format!("{:?}", smallest.deeds).contains("Bring 1 back"), "{:?}", smallest.deeds);
        assert!(format!("{:?}", smallest.deeds).contains(&format!("{:?}", shown_at(now))), "{:?}", smallest.deeds);
        let question = smallest.question.unwrap();
        assert_eq!(question.verb, "Discard 1");
        assert!(question.fields.contains(&shown_at(now)), "{:?}", question.fields);
        assert!(shown("kind=a&group=none").await.deeds.is_empty());
        assert_eq!(shown("tab=dealt").await.parts[0].empty, "No letter was brought back or discarded yet.");
    }
}
