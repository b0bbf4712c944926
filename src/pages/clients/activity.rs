//! What happened for one person: deliveries, jobs, log lines. Row-level security gives a trainer those of the assigned
//! clients only.

use super::{person, person::Seen};
use crate::{
    components::{Empty, Panel, ScrollTable, StateChip, TimeStamp, text},
    model::Instant,
    store::{job_lists, log_lists, webhook_lists},
};
use leptos::prelude::*;
use sqlx::PgConnection;

/// Rows of each list.
const ROWS: i64 = 25;

pub(super) async fn page(conn: &mut PgConnection, seen: &Seen) -> sqlx::Result<AnyView> {
    let user = Some(seen.person.user_id.clone());
    let deliveries = webhook_lists::page(conn, &webhook_lists::Filter { user_id: user.clone(), ..Default::default() }, None, ROWS).await?;
    let jobs =
        job_lists::page(conn, &job_lists::Filter { user_id: user.clone(), ..Default::default() }, job_lists::Cursor::default(), ROWS)
            .await?
            .0;
    let lines = log_lists::page(conn, &log_lists::Filter { user_id: user, ..Default::default() }, None, ROWS).await?;
    let now = seen.now;
    let deliveries = deliveries.into_iter().map(|d| {
        view! {
            <tr><th scope="row"><TimeStamp at=text::moment(d.created_at, now)/></th><td>{d.kind}</td><td>{d.provider.as_deref().map(super::words::provider)}</td>
                <td><StateChip state=d.status/></td><td class="num">{d.processed_count}</td><td>{d.error.map(|e| text::cut(&e, 160))}</td></tr>
        }
        .into_any()
    });
    let jobs = jobs.into_iter().map(|j| {
        view! {
            <tr><th scope="row"><TimeStamp at=text::moment(j.created_at, now)/></th><td>{j.kind.replace('_', " ")}</td><td><StateChip state=j.status/></td>
                <td class="num">{j.attempts}</td><td>{ended(j.completed_at, now)}</td><td>{j.error.map(|e| text::cut(&e, 160))}</td></tr>
        }
        .into_any()
    });
    let lines = lines.into_iter().map(|l| {
        view! {
            <tr><th scope="row"><TimeStamp at=text::moment(l.timestamp, now)/></th><td><StateChip state=l.level/></td><td><code>{l.function_name}</code></td><td>{text::cut(&l.message, 240)}</td></tr>
        }
        .into_any()
    });
    Ok(view! {
        {person::head(seen, "activity")}
        {list("Deliveries", "deliveries", &["Received", "Kind", "Source", "State", "#Readings", "Why"], deliveries.collect())}
        {list("Jobs", "jobs", &["Created", "Kind", "State", "#Attempts", "Ended", "Error"], jobs.collect())}
        {list("Log", "log", &["Time", "Level", "Function", "Message"], lines.collect())}
    }
    .into_any())
}

fn ended(at: Option<Instant>, now: Instant) -> AnyView {
    at.map(|at| view! { <TimeStamp at=text::moment(at, now)/> }).into_any()
}

fn list(title: &'static str, id: &'static str, heads: &'static [&'static str], rows: Vec<AnyView>) -> AnyView {
    let newest = (rows.len() as i64 == ROWS).then(|| view! { <span class="soft">{format!("the newest {ROWS}")}</span> }.into_any());
    view! {
        <Panel title id class="flush" aside=newest.unwrap_or_else(|| ().into_any())>
            {if rows.is_empty() {
                view! { <Empty title="Nothing yet"><p>"Nothing of this kind is kept for this person."</p></Empty> }.into_any()
            } else {
                view! {
                    <ScrollTable caption=format!("{title}, newest first")>
                        <thead><tr>{heads.iter().map(|h| match h.strip_prefix('#') {
                            Some(h) => view! { <th scope="col" class="num">{h.to_owned()}</th> },
                            None => view! { <th scope="col" class="">{(*h).to_owned()}</th> },
                        }).collect_view()}</tr></thead>
                        <tbody>{rows}</tbody>
                    </ScrollTable>
                }.into_any()
            }}
        </Panel>
    }
    .into_any()
}
