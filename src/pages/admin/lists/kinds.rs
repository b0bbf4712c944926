//! `/admin/kinds`: every kind of job, paused or limited for all nodes together.

use super::{
    super::{
        kind_deeds::{LimitKind, PauseKind},
        screen::{Cell, Form, Part, Shown},
    },
    Query, changed, field, system, text,
};
use crate::{
    jobs::limits::{self, KindRow},
    model::Instant,
    store::{Db, audit},
};
use leptos::server_fn::ServerFn;

fn limit(n: Option<i32>) -> Cell {
    n.map_or(Cell::None, |n| Cell::Number(text::count(i64::from(n))))
}

fn pause(k: &KindRow, back: &str) -> Cell {
    let (words, to) = if k.paused { ("Resume", "off") } else { ("Pause", "on") };
    let fields = [("kind", k.kind.as_str()), ("paused", to), ("back", back)].map(|(n, v)| (n.to_owned(), v.to_owned()));
    Cell::Buttons(vec![(words.into(), PauseKind::url().into(), fields.to_vec())])
}

fn jobs(k: &KindRow, status: &str, n: i64) -> Cell {
    Cell::Link(Query::href("jobs", &[("status", status), ("kind", &k.kind)]), text::count(n))
}

pub(super) async fn list(db: &Db, now: Instant) -> sqlx::Result<Shown> {
    let kinds = limits::list(db).await?;
    Ok(Shown {
        title: "Kinds of jobs".into(),
        lead: "Pause a kind, or limit it, on all nodes together. What runs is finished; what waits, waits.".into(),
        tabs: system::tabs("kinds"),
        taken: Some(text::moment(now, now)),
        parts: vec![Part {
            title: "Kinds".into(),
            heads: ["Kind", "State", "#Pending", "#Active", "#Failed", "#At a time", "#A minute", "Actions"].map(String::from).to_vec(),
            rows: kinds
                .iter()
                .map(|k| {
                    vec![
                        Cell::Link(format!("/admin/kinds/{}", text::segment(&k.kind)), k.kind.clone()),
                        Cell::State(if k.paused { "paused".into() } else { "active".into() }),
                        jobs(k, "pending", k.pending),
                        jobs(k, "processing", k.running),
                        jobs(k, "failed", k.failed),
                        limit(k.max_running),
                        limit(k.per_minute),
                        pause(k, "/admin/kinds"),
                    ]
                })
                .collect(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

pub(super) async fn one(db: &Db, kind: &str, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(k) = limits::list(db).await?.into_iter().find(|k| k.kind == kind) else { return Ok(None) };
    let last = audit::newest_about(&mut *db.service().acquire().await?, &[kind.to_owned()], "kind.").await?;
    let back = format!("/admin/kinds/{}", text::segment(kind));
    let number = |n: Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
    Ok(Some(Shown {
        title: format!("Kind: {kind}"),
        up: Some(("/admin/kinds".into(), "Kinds of jobs".into())),
        taken: Some(text::moment(now, now)),
        deeds: vec![pause(&k, &back)],
        facts: vec![
            ("State".into(), Cell::State(if k.paused { "paused".into() } else { "active".into() })),
            ("Pending".into(), jobs(&k, "pending", k.pending)),
            ("Active".into(), jobs(&k, "processing", k.running)),
            ("Failed".into(), jobs(&k, "failed", k.failed)),
            changed(&last, now),
        ],
        form: Some((
            "Limits".into(),
            "For all nodes together, from the next job on. Empty: no limit.".into(),
            Form {
                action: LimitKind::url().into(),
                fields: vec![
                    field("max_running", "At the same time", &number(k.max_running), &[]),
                    field("per_minute", "Started in a minute", &number(k.per_minute), &[]),
                ],
                hidden: vec![("kind".into(), kind.to_owned()), ("back".into(), back)],
                buttons: vec![("Save".into(), "go".into(), "1".into())],
                ..Form::default()
            },
        )),
        ..Shown::default()
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;
    use audit::Actor;

    #[tokio::test]
    async fn kinds_schedules_and_settings_say_who_changed_them_last() {
        let t = testing::database().await;
        let (now, ada) = (chrono::Utc::now(), Actor { name: "ada@example.com".into(), ..Actor::system() });
        sqlx::raw_sql("INSERT INTO schedules (name, job_type, every_s) VALUES ('vacuum', 'vacuum', 60)")
            .execute(t.db.owner())
            .await
            .unwrap();
        let text = async || {
            let mut conn = t.db.service().acquire().await.unwrap();
            let kind = one(&t.db, "vacuum", now).await.unwrap().unwrap();
            let schedules = system::schedules(&mut conn, now).await.unwrap();
            let settings = super::super::settings::list(&mut conn, now).await.unwrap();
            [format!("{:?}", kind.facts), format!("{:?}", schedules.parts), format!("{:?}", settings.facts)]
        };
        assert!(text().await.iter().all(|t| !t.contains("ada@example.com")));
        limits::set_paused(&t.db, &ada, "vacuum", true).await.unwrap();
        let detail = serde_json::json!({});
        audit::write(t.db.service(), &ada, "schedule.pause", Some("vacuum"), &detail).await.unwrap();
        audit::write(t.db.service(), &ada, "settings.change", Some("advanced_metrics"), &detail).await.unwrap();
        let said = text().await;
        assert!(said.iter().all(|t| t.matches("ada@example.com").count() == 1), "{said:?}");
        assert!(said[1].contains("paused by ada@example.com"), "{}", said[1]);
    }
}
