//! `/admin/trainers`: which trainer sees whom.

use super::{
    super::{
        screen::{Cell, Form, Part, Question, Shown},
        trainer_deeds::{AssignClients, UnassignClient},
    },
    PAGE, Query, field, system, text, time, words,
};
use crate::{model::Instant, store::system_lists as store};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;
use uuid::Uuid;

/// Trainers a page.
const TRAINERS: usize = 500;

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let after = query.raw("after");
    let mut trainers = store::trainers(conn, &after, TRAINERS as i64 + 1).await?;
    let more = trainers.len() > TRAINERS;
    trainers.truncate(TRAINERS);
    Ok(Shown {
        title: "Trainers and clients".into(),
        lead: "A trainer sees the assigned clients and nobody else.".into(),
        tabs: system::tabs("trainers"),
        parts: vec![Part {
            title: "Trainers".into(),
            heads: ["Trainer", "Name", "State", "#Clients"].map(String::from).to_vec(),
            rows: trainers
                .iter()
                .map(|t| {
                    vec![
                        Cell::Link(format!("/admin/trainers/{}", t.id), t.email.clone()),
                        words(Some(&t.display_name)),
                        Cell::State(if t.disabled { "paused".into() } else { "active".into() }),
                        Cell::Number(text::count(t.clients)),
                    ]
                })
                .collect(),
            next: trainers.last().filter(|_| more).map(|t| Query::href("trainers", &[("after", &t.email)])).unwrap_or_default(),
            first: if after.is_empty() { String::new() } else { Query::href("trainers", &[]) },
            filtered: !after.is_empty(),
            empty: "There is no trainer yet. Invite one under “Accounts and invitations”.".into(),
            ..Part::default()
        }],
        taken: Some(text::moment(now, now)),
        ..Shown::default()
    })
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, query: &Query, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(trainer) = store::trainer(conn, id).await? else { return Ok(None) };
    let after = query.raw("after");
    let mut rows = store::clients_of(conn, id, &after, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |pairs: &[(&str, &str)]| Query::href(&format!("trainers/{id}"), pairs);
    // This very page, not the first one.
    let back = here(&[("after", &after)]);
    let asked = Some(query.raw("ask")).filter(|user_id| !user_id.is_empty());
    let question = asked.map(|user_id| Question {
        text: format!("Take {} from {}? The trainer no longer sees this person; the data stay.", text::cut(&user_id, 80), trainer.email),
        verb: "Take away".into(),
        action: UnassignClient::url().into(),
        fields: vec![("trainer".into(), id.to_string()), ("user_id".into(), user_id), ("back".into(), back.clone())],
        back: back.clone(),
        ..Question::default()
    });
    Ok(Some(Shown {
        title: trainer.email.clone(),
        lead: format!("Sees {}.", text::plural(trainer.clients, "client", "clients")),
        up: Some(("/admin/trainers".into(), "Trainers and clients".into())),
        taken: Some(text::moment(now, now)),
        question,
        form: Some((
            "Assign clients".into(),
            "One id, or several with spaces between them. Ids that nobody has are named and left out.".into(),
            Form {
                action: AssignClients::url().into(),
                fields: vec![field("users", "Ids", "", &[])],
                hidden: vec![("trainer".into(), id.to_string()), ("back".into(), back)],
                buttons: vec![("Assign".into(), "go".into(), "1".into())],
                ..Form::default()
            },
        )),
        parts: vec![Part {
            title: "Clients".into(),
            heads: ["Person", "Called", "Since", "By", "Actions"].map(String::from).to_vec(),
            rows: rows
                .iter()
                .map(|c| {
                    vec![
                        super::person(Some(&c.user_id)),
                        words(c.label.as_deref()),
                        time(Some(c.assigned_at), now),
                        words(c.by.as_deref()),
                        Cell::Link(here(&[("after", &after), ("ask", &c.user_id)]), "Take away…".into()),
                    ]
                })
                .collect(),
            next: rows.last().filter(|_| more).map(|c| here(&[("after", &c.user_id)])).unwrap_or_default(),
            first: if after.is_empty() { String::new() } else { here(&[]) },
            empty: "Nobody is assigned yet.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn every_trainer_has_a_page_and_taking_away_keeps_the_place_and_the_very_id() {
        let t = testing::database().await;
        // The 501st trainer by address has a client whose id ends with a blank, and 60 others before that.
        let blank = format!("z{} ", "x".repeat(500));
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "INSERT INTO accounts (email, role) SELECT 't' || lpad(n::text, 3, '0') || '@example.com', 'trainer' FROM generate_series(1, 501) n;
             INSERT INTO persons (user_id) SELECT 'p' || lpad(n::text, 2, '0') FROM generate_series(1, 60) n;
             INSERT INTO persons (user_id) VALUES ('{blank}');
             INSERT INTO trainer_clients (trainer_id, user_id) SELECT a.id, p.user_id FROM accounts a, persons p WHERE a.email = 't501@example.com'"
        )))
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let query = |href: &str| Query::parse(href.split_once('?').map_or("", |(_, q)| q));
        let first = list(&mut conn, &query(""), now).await.unwrap().parts.remove(0);
        assert_eq!((first.rows.len(), first.next.as_str()), (500, "/admin/trainers?after=t500%40example.com"));
        let second = list(&mut conn, &query(&first.next), now).await.unwrap().parts.remove(0);
        let Some(Cell::Link(last, _)) = second.rows[0].first() else { panic!("{:?}", second.rows) };
        let id: Uuid = last.rsplit('/').next().unwrap().parse().unwrap();
        let page = one(&mut conn, id, &query(""), now).await.unwrap().unwrap();
        assert_eq!((page.title.as_str(), page.lead.as_str()), ("t501@example.com", "Sees 61 clients."));
        let further = page.parts[0].next.clone();
        let page = one(&mut conn, id, &query(&further), now).await.unwrap().unwrap();
        let Some(Cell::Link(ask, _)) = page.parts[0].rows.last().and_then(|r| r.last()) else { panic!("{:?}", page.parts) };
        assert!(ask.starts_with(&format!("{further}&ask=")), "{ask}");
        let question = one(&mut conn, id, &query(ask), now).await.unwrap().unwrap().question.unwrap();
        assert_eq!(question.back, further);
        let field = |name: &str| question.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!((field("user_id"), field("back")), (Some(blank.as_str()), Some(further.as_str())));
    }
}
