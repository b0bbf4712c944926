//! `/clients.csv`: the list of clients as the address filters it, one line a client and key metric. Written while it is
//! sent, a page of clients at a time, in one snapshot of the database.

use super::{people::server::KEY, query::Query, words};
use crate::{
    access::{
        Identity,
        downloads::unavailable,
        identify::Visit,
        written::{self, Part},
    },
    components::text,
    model::{Badge, Metric},
    rescore,
    server::Services,
    store::{
        Caller,
        advice::{self, AdviceRow},
        audit::{self, Actor, csv_field},
        clients::{self, LatestRow},
        roster::{self, LinkRow, RosterRow},
    },
};
use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::Utc;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Clients read at once.
const PAGE: i64 = 200;
/// No file holds more clients.
const MOST: i64 = 100_000;

/// `/clients.csv`, `/clients/{user_id}/export.csv`. Mount inside the guard.
pub(crate) fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/clients.csv", get(clients_csv))
        .route("/clients/{user_id}/export.csv", get(super::person_csv::person_csv))
        .with_state(services)
}

async fn clients_csv(
    State(services): State<Arc<Services>>,
    Extension(identity): Extension<Identity>,
    visit: Option<Extension<Visit>>,
    RawQuery(query): RawQuery,
) -> Response {
    let caller = match identity.caller() {
        Ok(caller) => caller.clone(),
        Err(denied) => return denied.into_response(),
    };
    let turn = match written::turn(&services.db) {
        Ok(turn) => turn,
        Err(busy) => return busy,
    };
    let visit = visit.map(|v| v.0).unwrap_or_default();
    let actor = Actor::of(&caller, visit.address, visit.request_id);
    let query = Query::parse("/clients.csv", &query.unwrap_or_default());
    if let Err(error) = audit::write(services.db.service(), &actor, "clients.export", None, &serde_json::json!({ "form": "csv" })).await {
        return unavailable(&error);
    }
    written::csv(turn, "clients.csv", |send| async move { write(&services, &caller, &query, &send).await })
}

async fn write(services: &Services, caller: &Caller, query: &Query, send: &Sender<Part>) -> sqlx::Result<()> {
    let now = Utc::now();
    let registry = rescore::registry(&mut *services.db.service().acquire().await?).await?;
    let wish = super::list::wish(query, &registry, now);
    let metrics: Vec<Metric> = wish.metric.map_or_else(|| KEY.to_vec(), |m| vec![m]);
    let keys: Vec<String> = metrics.iter().map(|m| m.key().to_owned()).collect();
    let mut tx = services.db.begin_as(caller).await?;
    roster::one_snapshot(&mut tx).await?;
    if send.send(Ok(HEAD.into())).await.is_err() {
        return Ok(());
    }
    for offset in (0..MOST).step_by(PAGE as usize) {
        let rows = roster::page(&mut tx, caller.role, &wish, now, PAGE, offset).await?;
        if rows.is_empty() {
            break;
        }
        let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
        let latest = clients::latest(&mut tx, &users, &keys).await?;
        let links = roster::links(&mut tx, &users, now).await?;
        let advice = advice::of(&mut tx, &users).await?;
        let part: String = rows.iter().map(|r| lines(r, links.iter().find(|l| l.user_id == r.user_id), &latest, &advice)).collect();
        if send.send(Ok(part.into())).await.is_err() || (rows.len() as i64) < PAGE {
            break;
        }
    }
    Ok(())
}

const HEAD: &str = "user_id,name,simulated,metric,value,unit,source,device,day,measured_at,received_at,confidence,badge,interval_low,interval_high,why,doubts,achievable_points,achievable_by,silent,broken\r\n";

/// The lines of a client; one without values has one line.
fn lines(r: &RosterRow, links: Option<&LinkRow>, latest: &[LatestRow], advice: &[AdviceRow]) -> String {
    let (silent, broken) = links.map(|l| (l.silent.join(" "), l.broken.join(" "))).unwrap_or_default();
    let person = [csv_field(&r.user_id), csv_field(r.label.as_deref().unwrap_or_default()), r.simulated.to_string()].join(",");
    let end = format!("{},{}\r\n", csv_field(&silent), csv_field(&broken));
    let own: Vec<String> = latest
        .iter()
        .filter(|l| l.user_id == r.user_id)
        .map(|l| format!("{person},{},{},{end}", value(l), achievable(l, advice)))
        .collect();
    if own.is_empty() { format!("{person}{}{end}", ",".repeat(17)) } else { own.concat() }
}

/// What would raise the score of this very value most, with the points.
fn achievable(l: &LatestRow, advice: &[AdviceRow]) -> String {
    match advice.iter().find(|a| a.speaks_of(l)) {
        Some(a) => format!("{},{}", a.points, csv_field(&a.advice)),
        None => ",".to_owned(),
    }
}

fn value(l: &LatestRow) -> String {
    let unit = Metric::from_key(&l.metric_name).map_or("", Metric::unit);
    let number = |v: Option<f64>| v.map(|v| format!("{v:.3}")).unwrap_or_default();
    [
        csv_field(&l.metric_name),
        l.value.to_string(),
        csv_field(unit),
        csv_field(&l.source),
        csv_field(&text::cut(l.device.as_deref().unwrap_or_default(), 120)),
        l.measurement_date.to_string(),
        l.measured_at.map(|at| at.to_rfc3339()).unwrap_or_default(),
        l.received_at.to_rfc3339(),
        l.confidence_score.map(|s| s.to_string()).unwrap_or_default(),
        Badge::of(l.confidence_score).word().to_owned(),
        number(l.low),
        number(l.high),
        csv_field(&words::reason(words::points(l), l.confidence_score)),
        csv_field(&l.doubts.join(" ")),
    ]
    .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_as_many_fields_as_the_head_and_none_is_a_formula() {
        let row = RosterRow { user_id: "=cmd|'/c calc'!A1".into(), label: Some("+1, \"Anna\"".into()), ..RosterRow::default() };
        let links = LinkRow { silent: vec!["garmin".into()], ..LinkRow::default() };
        let latest = LatestRow {
            user_id: row.user_id.clone(),
            metric_name: "steps".into(),
            source: "garmin".into(),
            measurement_date: chrono::NaiveDate::default(),
            value: 12.5,
            measured_at: None,
            received_at: chrono::DateTime::UNIX_EPOCH,
            confidence_score: Some(30),
            low: Some(0.2),
            high: None,
            factors: vec![None; 6],
            doubts: vec!["manual".into()],
            sources: 1,
            choice: None,
            device: Some("@SUM(1)".into()),
            probability: None,
        };
        // Outside of quotes a comma parts two fields.
        let fields = |line: &str| 1 + line.split('"').step_by(2).map(|plain| plain.matches(',').count()).sum::<usize>();
        let head = fields(HEAD.trim_end());
        let advice = AdviceRow {
            user_id: row.user_id.clone(),
            metric_name: "steps".into(),
            source: "garmin".into(),
            measurement_date: latest.measurement_date,
            points: 9,
            advice: "-wear it".into(),
        };
        assert!(lines(&row, None, std::slice::from_ref(&latest), std::slice::from_ref(&advice)).contains(",9,\"'-wear it\","));
        for text in [lines(&row, Some(&links), &[latest], &[advice]), lines(&row, None, &[], &[])] {
            assert_eq!(fields(text.trim_end()), head, "{text}");
            assert!(text.starts_with("\"'=cmd|") && text.contains("\"'+1, \"\"Anna\"\"\""), "{text}");
        }
    }
}
