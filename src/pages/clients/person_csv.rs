//! `/clients/{user_id}/export.csv`: a person's day values with everything that tells how far they can be trusted, oldest
//! first. The switches of the person's page hold here too. Written while it is sent, in one snapshot of the database.

use super::{query::Query, trend, words};
use crate::{
    access::{
        Identity,
        downloads::{nobody, readable, unavailable},
        identify::Visit,
        written::{self, Part},
    },
    components::text,
    model::{Instant, Metric},
    quality::{Registry, currency},
    rescore,
    server::Services,
    store::{
        Caller, Db,
        audit::{self, Actor, csv_field},
        read_api::{self, Filter, ValueRow},
        roster,
    },
};
use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use chrono::{NaiveDate, Utc};
use sqlx::{Postgres, Transaction};
use std::{borrow::Cow, sync::Arc};
use tokio::sync::mpsc::Sender;

/// Values read at once.
const AT_ONCE: i64 = 1_000;
const HEAD: &str = "measurement_date,metric_name,source,value,unit,confidence_score,findings,\
                    interval_low,interval_high,doubts,device,upload,measured_at,received_at\r\n";

/// Which of the values, as the person's page shows them.
struct Switches {
    recent: bool,
    sound: bool,
    now: Instant,
}

impl Switches {
    fn show(&self, v: &ValueRow, registry: &Registry) -> bool {
        let recent = || {
            let Some(metric) = Metric::from_key(&v.metric_name) else { return true };
            let hours = currency::age_hours(v.measured_at, v.measurement_date, v.received_at, self.now);
            words::is_recent(currency::currency(registry, metric, hours), v.measurement_date, self.now)
        };
        (!self.sound || trend::is_sound(v.confidence_score)) && (!self.recent || recent())
    }
}

pub(super) async fn person_csv(
    State(services): State<Arc<Services>>,
    Extension(identity): Extension<Identity>,
    visit: Option<Extension<Visit>>,
    Path(user_id): Path<String>,
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
    let query = Query::parse("", &query.unwrap_or_default());
    let switches = Switches { recent: query.on("recent"), sound: query.on("sound"), now: Utc::now() };
    match begin(&services.db, &caller, &actor, user_id).await {
        Ok(Some(values)) => written::csv(turn, "metrics.csv", |send| async move { values.write(&switches, &send).await }),
        Ok(None) => nobody(),
        Err(error) => unavailable(&error),
    }
}

/// The values of a person in one snapshot, of which the first are read.
struct Values {
    tx: Transaction<'static, Postgres>,
    registry: Cow<'static, Registry>,
    user_id: String,
    rows: Vec<ValueRow>,
}

/// `None` when the caller sees no value of this person. Else the export is written down before anything is sent.
async fn begin(db: &Db, caller: &Caller, actor: &Actor, user_id: String) -> sqlx::Result<Option<Values>> {
    if !readable(&user_id) {
        return Ok(None);
    }
    let registry = rescore::registry(&mut *db.service().acquire().await?).await?;
    let mut tx = db.begin_as(caller).await?;
    roster::one_snapshot(&mut tx).await?;
    let rows = read_api::history(&mut tx, &user_id, &all(), None, AT_ONCE).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    audit::write(db.service(), actor, "person.export", Some(&user_id), &serde_json::json!({ "form": "csv" })).await?;
    Ok(Some(Values { tx, registry, user_id, rows }))
}

/// Every value, of whatever day.
fn all() -> Filter {
    let day = |year, day| NaiveDate::from_yo_opt(year, day).unwrap_or_default();
    Filter { from: day(1, 1), to: day(9999, 365), metrics: Vec::new(), source: None }
}

impl Values {
    async fn write(mut self, switches: &Switches, send: &Sender<Part>) -> sqlx::Result<()> {
        let mut part = HEAD.to_owned();
        loop {
            part.extend(self.rows.iter().filter(|v| switches.show(v, &self.registry)).map(line));
            let Some(last) = self.rows.last().filter(|_| self.rows.len() as i64 == AT_ONCE) else {
                let _ = send.send(Ok(part.into())).await;
                return Ok(());
            };
            let after = (last.measurement_date, last.metric_name.clone(), last.source.clone());
            if send.send(Ok(std::mem::take(&mut part).into())).await.is_err() {
                return Ok(());
            }
            self.rows = read_api::history(&mut self.tx, &self.user_id, &all(), Some(&after), AT_ONCE).await?;
        }
    }
}

fn line(v: &ValueRow) -> String {
    let origin = v.origin();
    let number = |p: Option<f64>| p.map(|p| format!("{p:.3}")).unwrap_or_default();
    let doubts = v.score_findings.iter().flat_map(|f| &f.0).map(|f| words::kind_word(f.kind)).collect::<Vec<_>>().join("; ");
    let device = origin.device.as_ref().and_then(|d| d.name.as_deref()).unwrap_or_default();
    let fields = [
        v.measurement_date.to_string(),
        csv_field(&v.metric_name),
        csv_field(&v.source),
        v.value.to_string(),
        csv_field(&v.unit),
        v.confidence_score.map(|s| s.to_string()).unwrap_or_default(),
        csv_field(&serde_json::to_string(&v.findings.0).unwrap_or_default()),
        number(v.low),
        number(v.high),
        csv_field(&doubts),
        csv_field(&text::cut(device, 120)),
        csv_field(words::upload(origin.upload)),
        v.measured_at.map(|at| at.to_rfc3339()).unwrap_or_default(),
        v.received_at.to_rfc3339(),
    ];
    fields.join(",") + "\r\n"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{
        model::Role,
        store::{Token, accounts, sessions, testing},
    };

    const WORLD: &str = r#"
        INSERT INTO persons (user_id) VALUES ('p');
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
        SELECT 'p', 'steps', 'garmin', current_date - d, d, 'count', 1, 't', now(), gen_random_uuid(), '{"model": "daily", "upload": "manual", "device": {"name": "=Fenix, 7"}}'
          FROM generate_series(0, 1299) d;
        INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, findings, scorer_version, registry_version)
        SELECT user_id, metric_name, source, measurement_date, CASE WHEN value < 100 THEN 70 ELSE 30 END, 0.7, 0.6, 0.8, '{}', '[{"kind": "manual", "detail": ""}]', 1, 1
          FROM unified_metrics"#;

    async fn file(db: &Db, who: &Caller, query: &str) -> Option<Vec<String>> {
        let query = Query::parse("", query);
        let switches = Switches { recent: query.on("recent"), sound: query.on("sound"), now: Utc::now() };
        let values = begin(db, who, &Actor::system(), "p".into()).await.unwrap()?;
        let (send, mut receive) = tokio::sync::mpsc::channel(99);
        values.write(&switches, &send).await.unwrap();
        drop(send);
        let mut text = String::new();
        while let Some(part) = receive.recv().await {
            text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
        Some(text.lines().map(str::to_owned).collect())
    }

    #[tokio::test]
    async fn a_persons_file_is_whole_keeps_to_the_switches_and_tells_where_each_value_comes_from() {
        let t = testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let caller = async |email: &str, role, seed| {
            let id = accounts::add(t.db.service(), email, "", role, Some("x")).await.unwrap().unwrap();
            let token = Token::from_bytes([seed; 32]);
            sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
            Caller::new(id, role, email.into(), String::new(), token)
        };
        let (admin, trainer) = (caller("a@example.com", Role::Admin, 1).await, caller("t@example.com", Role::Trainer, 2).await);
        assert!(file(&t.db, &trainer, "").await.is_none(), "not this trainer's client");
        let all = file(&t.db, &admin, "").await.unwrap();
        assert_eq!((all.len(), format!("{}\r\n", all[0]).as_str()), (1301, HEAD));
        let newest = &all[1300];
        assert!(newest.starts_with(&Utc::now().date_naive().to_string()), "oldest first: {newest}");
        assert!(newest.contains("0.600,0.800,\"entered by hand\",\"'=Fenix, 7\",\"entered or altered by hand\",,"), "{newest}");
        // Outside of quotes a comma parts two fields.
        let fields = |line: &str| 1 + line.split('"').step_by(2).map(|plain| plain.matches(',').count()).sum::<usize>();
        assert_eq!(fields(newest), fields(HEAD));
        assert_eq!(file(&t.db, &admin, "sound=1").await.unwrap().len(), 101);
        let recent = file(&t.db, &admin, "recent=1&sound=1").await.unwrap().len();
        assert!((2..20).contains(&recent), "{recent}");
    }
}
