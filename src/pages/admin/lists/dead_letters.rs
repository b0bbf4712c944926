//! `/admin/dead-letters`: jobs that are out of attempts, grouped by what their errors have in common.

use super::{
    super::{
        job_deeds::shown_at,
        letter_deeds::{DiscardGroup, RedriveGroup, RedriveLetter, RedriveLetters, StopOperation, filter},
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
use std::collections::HashSet;
use uuid::Uuid;

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

/// The filter of the list of groups and the page of it, as the address says them: kept on the way to a group and back.
#[derive(Clone, Copy)]
struct Here<'a> {
    kind: &'a str,
    since: &'a str,
    /// Empty: the first.
    page: &'a str,
}

impl Here<'_> {
    /// The list.
    fn list(&self, ask: &str) -> String {
        Query::href("dead-letters", &[("kind", self.kind), ("since", self.since), ("page", self.page), ("ask", ask)])
    }

    /// A group. Its kind narrows what is shown of it; the one of the list has a name of its own there.
    fn group(&self, (kind, group): (&str, &str), more: &[(&str, &str)]) -> String {
        let mut pairs = vec![("kind", kind), ("group", group), ("since", self.since), ("of", self.kind), ("page", self.page)];
        pairs.extend(more);
        Query::href("dead-letters", &pairs)
    }
}

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let there = dead_letters::exists(conn).await?;
    let running = operations::list(conn, 20).await?.iter().filter(|o| shows(o, now)).map(running).collect();
    let shown = Shown {
        title: "Dead letters".into(),
        lead: "Jobs that used up their attempts or failed for good. Mend the cause, then bring one, a group or all of them back.".into(),
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
    let page = query.get("page").parse::<i64>().unwrap_or(1).clamp(1, LAST_PAGE);
    let page_word = if page > 1 { page.to_string() } else { String::new() };
    if group.is_empty() {
        let here = Here { kind: &kind, since: &since, page: &page_word };
        let by_kind = Some(kind.as_str()).filter(|k| !k.is_empty());
        let groups = store::groups(conn, &Filter { since: from, kind: by_kind, fingerprint: None }, GROUPS, (page - 1) * GROUPS).await?;
        let question = if query.get("ask") == "redrive" { all_back(conn, here, now).await? } else { None };
        return Ok(Shown { tabs: tabs(""), question, parts: vec![table(&groups, here, page, now)], ..shown });
    }
    // Asked for by itself: however small it is, it can be dealt with.
    let list_kind = query.get("of");
    let here = Here { kind: &list_kind, since: &since, page: &page_word };
    let chosen = store::groups(conn, &Filter { since: from, kind: Some(&kind), fingerprint: Some(&group) }, 1, 0).await?.into_iter().next();
    let back = here.group((&kind, &group), &[]);
    let one_back = here.group((&kind, &group), &[("before", &query.get("before"))]);
    Ok(Shown {
        up: Some((here.list(""), "All groups".into())),
        deeds: chosen.iter().map(|g| redrive(g, here, &back, now)).collect(),
        question: chosen.filter(|_| query.get("ask") == "discard").map(|g| question(&g, here, now)),
        parts: vec![letters(conn, query, here, (&kind, &group, from), now).await?],
        shared: vec![("redrive-letter".into(), RedriveLetter::url().into(), vec![("back".into(), one_back)])],
        ..shown
    })
}

/// The question before everything that the list shows is brought back, with how many that are; nothing: there is none.
async fn all_back(conn: &mut PgConnection, here: Here<'_>, now: Instant) -> sqlx::Result<Option<Question>> {
    let n = dead_letters::count_open(conn, &filter(here.kind, here.since, now)).await?;
    let back = here.list("");
    let mut fields =
        [("kind", here.kind), ("since", here.since), ("back", back.as_str())].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    fields.push(shown_at(now));
    Ok((n > 0).then(|| Question {
        text: match n {
            1 => "Bring the one open letter of this view back? Its job runs again, with all its attempts.".into(),
            n => format!("Bring all {} open letters of this view back? Their jobs run again, with all their attempts.", text::count(n)),
        },
        verb: format!("Bring {} back", text::count(n)),
        action: RedriveLetters::url().into(),
        fields,
        back,
        ..Question::default()
    }))
}

fn table(groups: &[Group], here: Here<'_>, page: i64, now: Instant) -> Part {
    let (letters, all) = groups.first().map_or((0, 0), |g| (g.letters, g.groups));
    let more = if letters >= WINDOW { "+" } else { "" };
    let at = |page: &str| Here { page, ..here }.list("");
    Part {
        title: heading(letters, all, more),
        note: if more.is_empty() {
            "Errors that differ only in ids and numbers are one group.".into()
        } else {
            "Errors that differ only in ids and numbers are one group. Counted are the newest 100,000 letters.".into()
        },
        fields: vec![super::Field { label: "Died".into(), ..since_field(here.since) }, super::field("kind", "Kind", here.kind, &[])],
        deeds: match letters {
            0 => Vec::new(),
            1 => vec![Cell::Link(here.list("redrive"), "Bring the one back…".into())],
            n => vec![Cell::Link(here.list("redrive"), format!("Bring all {}{more} back…", text::count(n)))],
        },
        heads: ["Error", "Kind", "How", "#Open", "First", "Last", "Actions"].map(String::from).to_vec(),
        rows: groups.iter().map(|g| group_row(g, here, now)).collect(),
        sorted: Some(3),
        next: if page * GROUPS < all && page < LAST_PAGE { at(&(page + 1).to_string()) } else { String::new() },
        first: if page > 1 { at("") } else { String::new() },
        filtered: !here.since.is_empty() || !here.kind.is_empty() || page > 1,
        empty: "No job is out of attempts.".into(),
        ..Part::default()
    }
}

fn heading(letters: i64, groups: i64, more: &str) -> String {
    let noun = |n: i64, one: &'static str, many: &'static str| if n == 1 && more.is_empty() { one } else { many };
    format!(
        "{}{more} open {} in {}{more} {}",
        text::count(letters),
        noun(letters, "letter", "letters"),
        text::count(groups),
        noun(groups, "group", "groups")
    )
}

/// The job of a letter; one that is gone has no page.
fn job(there: &HashSet<Uuid>, id: Uuid, kind: &str) -> Cell {
    if there.contains(&id) {
        Cell::Link(format!("/admin/jobs/{id}"), kind.to_owned())
    } else {
        Cell::Text(format!("{kind}; the job is gone"))
    }
}

/// What was brought back or thrown away, by whom and why.
async fn dealt_with(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Part> {
    let mut rows = store::dealt_with(conn, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let there = store::jobs_there(conn, &rows.iter().map(|d| d.original_job_id).collect::<Vec<_>>()).await?;
    let here = |before: &str| Query::href("dead-letters", &[("tab", "dealt"), ("before", before)]);
    Ok(Part {
        title: "Letters that were dealt with, newest first".into(),
        heads: ["Job", "Error", "What", "By", "When", "Note"].map(String::from).to_vec(),
        rows: rows
            .iter()
            .map(|d| {
                vec![
                    job(&there, d.original_job_id, &d.kind),
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

fn redrive(g: &Group, here: Here<'_>, back: &str, now: Instant) -> Cell {
    let discard = here.group((&g.kind, &g.fingerprint), &[("ask", "discard")]);
    Cell::Group(vec![
        Cell::Buttons(vec![(format!("Bring {} back", text::count(g.open)), RedriveGroup::url().into(), key(g, here.since, back, now))]),
        Cell::Link(discard, format!("Discard {}…", text::count(g.open))),
    ])
}

fn question(g: &Group, here: Here<'_>, now: Instant) -> Question {
    let what = text::plural(g.open, "dead letter", "dead letters");
    let then = if g.open == 1 { "Its job is closed" } else { "Their jobs are closed" };
    Question {
        text: format!("Discard {what} of kind {}? {then} and will not run again.", g.kind),
        verb: format!("Discard {}", text::count(g.open)),
        action: DiscardGroup::url().into(),
        fields: key(g, here.since, &here.list(""), now),
        remark: "note".into(),
        back: here.group((&g.kind, &g.fingerprint), &[]),
    }
}

fn group_row(g: &Group, here: Here<'_>, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Noted(
            here.group((&g.kind, &g.fingerprint), &[]),
            text::cut(g.error.as_deref().unwrap_or("no error text"), 160),
            format!("group {}", g.fingerprint),
        ),
        Cell::Code(g.kind.clone()),
        Cell::Text(g.reason_class.clone()),
        Cell::Number(text::count(g.open)),
        time(Some(g.first_at), now),
        time(Some(g.last_at), now),
        redrive(g, here, &here.list(""), now),
    ]
}

async fn letters(
    conn: &mut PgConnection,
    query: &Query,
    here: Here<'_>,
    (kind, group, from): (&str, &str, Option<Instant>),
    now: Instant,
) -> sqlx::Result<Part> {
    let mut rows = store::of_group(conn, group, kind, from, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let there = store::jobs_there(conn, &rows.iter().map(|l| l.original_job_id).collect::<Vec<_>>()).await?;
    let at = |before: &str| here.group((kind, group), &[("before", before)]);
    Ok(Part {
        title: format!("Letters of group {group}, newest first"),
        heads: ["Job", "Error", "How", "Person", "#Attempts", "Died", "Actions"].map(String::from).to_vec(),
        rows: rows
            .iter()
            .map(|l| {
                vec![
                    job(&there, l.original_job_id, &l.kind),
                    words(l.error.as_deref().map(|e| text::cut(e, 200)).as_deref()),
                    Cell::Text(l.reason_class.clone()),
                    person(l.user_id.as_deref()),
                    Cell::Number(l.attempts.to_string()),
                    time(Some(l.failed_at), now),
                    Cell::Presses(
                        vec![("Bring back".into(), "redrive-letter".into())],
                        l.original_job_id.to_string(),
                        format!("{}, job {}", l.kind, l.original_job_id),
                    ),
                ]
            })
            .collect(),
        sorted: Some(5),
        next: rows.last().filter(|_| more).map(|l| at(&place((l.failed_at, l.id)))).unwrap_or_default(),
        first: if query.before().is_some() { at("") } else { String::new() },
        filtered: true,
        clear: here.list(""),
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
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]
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
    #[tokio::test]
    async fn filter_and_page_are_kept_on_the_way_to_a_group_and_back() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint)
             SELECT gen_random_uuid(), 'a', '{}', 'e', 'f' || n FROM generate_series(1, 101) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let mut shown = async |href: &str| list(&mut conn, &Query::parse(href.split_once('?').unwrap().1), now).await.unwrap();
        let here = "/admin/dead-letters?kind=a&since=24h&page=2";
        let part = shown(here).await.parts.remove(0);
        let Cell::Noted(group, ..) = &part.rows[0][0] else { panic!("{:?}", part.rows) };
        let back = |page: &dyn std::fmt::Debug| format!("{page:?}").contains(&format!("(\"back\", {here:?})"));
        assert!(part.rows.len() == 1 && back(&part.rows), "{:?}", part.rows);
        let inside = shown(group).await;
        assert_eq!(inside.up.as_ref().map(|(href, _)| href.as_str()), Some(here));
        assert_eq!(inside.parts[0].clear, here);
        assert!(format!("{:?}", inside.shared).contains(&format!("(\"back\", {group:?})")), "{:?}", inside.shared);
        let question = shown(&format!("{group}&ask=discard")).await.question.unwrap();
        assert!(back(&question.fields) && question.back == *group, "{question:?}");
        assert_eq!(question.text, "Discard 1 dead letter of kind a? Its job is closed and will not run again.");
        // The group's own kind does not narrow the list that is returned to.
        let part = shown("?page=2").await.parts.remove(0);
        let Cell::Noted(group, ..) = &part.rows[0][0] else { panic!("{:?}", part.rows) };
        assert_eq!(shown(group).await.up.map(|(href, _)| href).as_deref(), Some("/admin/dead-letters?page=2"));
    }

    #[tokio::test]
    async fn everything_of_a_filter_is_counted_and_asked_before_it_comes_back() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs (id, type, payload) VALUES ('00000000-0000-7000-8000-000000000001', 'a', '{}');
             INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at)
             SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n > 4 THEN 'b' ELSE 'a' END, '{}', 'e', 'f' || n % 2,
                    now() - interval '1 minute' FROM generate_series(1, 5) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let mut shown = async |query: &str| list(&mut conn, &Query::parse(query), now).await.unwrap();
        let page = shown("kind=a").await;
        assert_eq!(page.parts[0].deeds, [Cell::Link("/admin/dead-letters?kind=a&ask=redrive".into(), "Bring all 4 back…".into())]);
        assert!(page.question.is_none() && !format!("{:?}", page.parts).contains(RedriveLetters::url()));
        let question = shown("kind=a&ask=redrive").await.question.unwrap();
        assert_eq!((question.verb.as_str(), question.action.as_str()), ("Bring 4 back", RedriveLetters::url()));
        assert!(question.fields.contains(&shown_at(now)) && question.fields.contains(&("kind".into(), "a".into())), "{question:?}");
        assert!(shown("kind=none&ask=redrive").await.question.is_none());
        // A letter has its own button, and leads to its job only where there is one.
        let group = shown("kind=a&group=f1").await.parts.remove(0);
        let jobs: Vec<&Cell> = group.rows.iter().map(|r| &r[0]).collect();
        let there = Cell::Link("/admin/jobs/00000000-0000-7000-8000-000000000001".into(), "a".into());
        let gone = Cell::Text("a; the job is gone".into());
        assert!(jobs.len() == 2 && jobs.contains(&&there) && jobs.contains(&&gone), "{jobs:?}");
        assert!(group.rows.iter().all(|r| matches!(r.last(), Some(Cell::Presses(..)))), "{:?}", group.rows);
    }

    #[test]
    fn one_letter_is_not_called_letters() {
        assert_eq!(heading(1, 1, ""), "1 open letter in 1 group");
        assert_eq!(heading(100_000, 1, "+"), "100,000+ open letters in 1+ groups");
    }
}
