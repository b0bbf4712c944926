//! The list of jobs, what it offers and where its links lead.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use super::*;

#[test]
fn the_urls_parts_win_and_plain_words_are_errors_or_an_id() {
    let (f, c) = filter("failed", "", "status:pending kind:vacuum timed out");
    assert_eq!(
        (f.status.as_deref(), f.kind.as_deref(), f.error.as_deref(), c.as_str()),
        (Some("failed"), Some("vacuum"), Some("timed out"), "")
    );
    let id = Uuid::from_u128(9);
    assert_eq!(filter("", "", &id.to_string()).0, Filter { ids: Some(vec![id]), ..Filter::default() });
    assert_eq!(filter("", "", "id:nonsense").0.ids, Some(vec![]));
    let (f, c) = filter("lost", "", "colour:red");
    assert_eq!(f, Filter::default());
    assert!(c.contains("colour:") && c.contains("lost"), "{c}");
}

#[test]
fn cursors_survive_the_url() {
    let done = chrono::DateTime::from_timestamp_micros(1_763_900_000_123_456).map(|t| (t, Uuid::from_u128(7)));
    for c in [
        Cursor::default(),
        Cursor { hot: Some(Uuid::from_u128(5)), done: None },
        Cursor { hot: None, done },
        Cursor { hot: Some(Uuid::from_u128(5)), done },
    ] {
        assert_eq!(cursor(&cursor_word(c)), c);
    }
    assert_eq!(cursor("nonsense"), Cursor::default());
}
#[tokio::test]
async fn nothing_is_cancelled_without_a_question_and_what_waits_is_counted() {
    let t = crate::store::testing::database().await;
    sqlx::raw_sql(
        "INSERT INTO background_jobs (type, payload, scheduled_at)
         SELECT CASE WHEN n < 4 THEN 'a' ELSE 'b' END, '{}', now() + make_interval(hours => n % 2 * 3 - 1) FROM generate_series(1, 5) n",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let now = chrono::Utc::now();
    let mut shown = async |query: &str| list(&mut conn, &Query::parse(query), now).await.unwrap();
    let page = shown("status=pending").await;
    let text = format!("{page:?}");
    assert!(text.contains("Run now the 3 that wait for later"), "{text}");
    assert!(format!("{:?}", shown("status=pending&kind=b").await).contains("Run now the one that waits for later"));
    // No form on the page cancels; links lead to the question.
    assert!(!text.contains("(\"deed\", \"cancel\")") && !text.contains("do-cancel") && page.question.is_none(), "{text}");
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(text.contains("ask=cancel&ids%5B%5D="), "{text}");
    let asked = shown(&format!("status=pending&ask=cancel&ids%5B%5D={one}&ids[]={two}&ids[]=x")).await.question.unwrap_or_default();
    assert_eq!((asked.verb.as_str(), asked.back.as_str()), ("Cancel 2 jobs", "/admin/jobs?status=pending"));
    let sent: Vec<_> = asked.fields.iter().filter(|(n, _)| n == TICKED).map(|(_, v)| v.clone()).collect();
    assert_eq!(sent, [one.to_string(), two.to_string()]);
    let all = shown("status=pending&ask=cancel-all").await.question.unwrap_or_default();
    assert_eq!((all.verb.as_str(), all.action.as_str()), ("Cancel 5", ActOnJobs::url()));
    assert!(text.contains("ask=cancel-all") && text.contains(&format!("{:?}", shown_at(now))), "{text}");
    assert!(all.fields.contains(&shown_at(now)), "{:?}", all.fields);
    // The button of the ticked rows with none ticked asks for nothing.
    let none = shown("status=pending&ask=cancel").await;
    assert!(none.question.is_none() && none.complaint.starts_with("No job was ticked."), "{}", none.complaint);
}

#[tokio::test]
async fn an_empty_window_says_so_and_leads_further_back() {
    let t = crate::store::testing::database().await;
    sqlx::raw_sql(
        "INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at)
         SELECT app.uuid_v7(), 'a', CASE WHEN n > 25010 THEN 'cancelled' ELSE 'completed' END, 5, '{}', 1, now(), now(),
                now() - n * interval '1 millisecond'
           FROM generate_series(1, 25015) n;
         INSERT INTO job_count_deltas (type, status, delta) VALUES ('a', 'cancelled', 5), ('a', 'completed', 25010)",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let now = chrono::Utc::now();
    let mut part = async |query: &str| list(&mut conn, &Query::parse(query), now).await.unwrap().parts.remove(0);
    let first = part("status=cancelled").await;
    assert_eq!((first.title.as_str(), first.rows.len(), first.next.as_str()), ("5 jobs", 0, ""));
    assert_eq!(first.note, "State and kind of finished jobs are looked for among the newest 25,000.");
    assert!(!first.filtered && first.empty.contains("None of the newest 25,000 jobs matches"), "{}", first.empty);
    let further = match first.deeds.as_slice() {
        [Cell::Link(href, words)] if words == "Search further back" => href.clone(),
        other => panic!("{other:?}"),
    };
    let second = part(further.split_once('?').unwrap().1).await;
    assert_eq!((second.rows.len(), second.deeds.len(), second.filtered), (5, 0, true));
    assert!(second.note.ends_with("among the next 25,000."), "{}", second.note);
    assert!(part("status=completed").await.deeds.is_empty(), "a full page goes on by itself");
    assert_eq!(part("").await.note, "", "what all are listed by lies in an index");
}

#[tokio::test]
async fn the_kind_of_a_search_stays_in_the_search() {
    let t = crate::store::testing::database().await;
    sqlx::raw_sql("INSERT INTO background_jobs (type, payload) VALUES ('a', '{}'), ('b', '{}')").execute(t.db.owner()).await.unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let now = chrono::Utc::now();
    let mut kind = async |query: &str| {
        let part = list(&mut conn, &Query::parse(query), now).await.unwrap().parts.remove(0);
        let field = part.fields.into_iter().find(|f| f.name == "kind").unwrap();
        assert!(field.options.iter().any(|(value, _)| *value == field.value), "{field:?}");
        (field.value, part.title)
    };
    // Else the form would send it beside the next search, and win over what is typed there.
    assert_eq!(kind("q=kind:a").await, (String::new(), "1 job".into()));
    assert_eq!(kind("kind=a").await, ("a".into(), "1 job".into()));
    // A kind that no job has is not dropped by the next search either.
    assert_eq!(kind("kind=gone").await, ("gone".into(), "0 jobs".into()));
}

#[test]
fn one_job_is_not_called_all_of_them() {
    let here = Here { status: "pending", kind: "", q: "" };
    let now = chrono::Utc::now();
    let one = question(&here, (1, "1"), "", now);
    assert_eq!(one.text, "Cancel the one job that this view shows? It will not run again; if it runs, it is asked to stop.");
    assert!(question(&here, (2, "2"), "", now).text.starts_with("Cancel all 2 jobs that this view shows?"));
}
