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

pub(super) async fn list(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let trainers = store::trainers(conn).await?;
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
            empty: "There is no trainer yet. Invite one under “Accounts and invitations”.".into(),
            ..Part::default()
        }],
        taken: Some(text::moment(now, now)),
        ..Shown::default()
    })
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, query: &Query, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(trainer) = store::trainers(conn).await?.into_iter().find(|t| t.id == id) else { return Ok(None) };
    let after = query.get("after");
    let mut rows = store::clients_of(conn, id, &after, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |pairs: &[(&str, &str)]| Query::href(&format!("trainers/{id}"), pairs);
    let asked = query.some("ask");
    let question = asked.map(|user_id| Question {
        text: format!("Take {} from {}? The trainer no longer sees this person; the data stay.", text::cut(&user_id, 80), trainer.email),
        verb: "Take away".into(),
        action: UnassignClient::url().into(),
        fields: vec![("trainer".into(), id.to_string()), ("user_id".into(), user_id), ("back".into(), here(&[]))],
        back: here(&[]),
        ..Question::default()
    });
    Ok(Some(Shown {
        title: trainer.email.clone(),
        lead: format!("Sees {} clients.", text::count(trainer.clients)),
        up: Some(("/admin/trainers".into(), "Trainers and clients".into())),
        taken: Some(text::moment(now, now)),
        question,
        form: Some((
            "Assign clients".into(),
            "One id, or several with spaces between them. Ids that nobody has are named and left out.".into(),
            Form {
                action: AssignClients::url().into(),
                fields: vec![field("users", "Ids", "", &[])],
                hidden: vec![("trainer".into(), id.to_string()), ("back".into(), here(&[]))],
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
                        Cell::Link(here(&[("ask", &c.user_id)]), "Take away…".into()),
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
