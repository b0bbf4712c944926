//! A database with rows of two persons, everybody who may come to it, and the tools to try things.

use super::super::{Token, accounts, api_keys, repair, sessions, testing};
use super::expected::{Eyes, RELATIONS};
use crate::model::Role;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Transaction};
use std::collections::BTreeSet;

/// Rows in every table, for two persons; statements of the owner.
const PLANTED: &str = "
  INSERT INTO persons (user_id) VALUES ('person-a'), ('person-b');
  INSERT INTO connections (terra_user_id, user_id, provider) VALUES ('t-a', 'person-a', 'oura'), ('t-b', 'person-b', 'oura'), ('t-x', NULL, 'oura');
  INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, ordering_ms, body)
    SELECT app.uuid_v7(), 'trace', 'daily', u, 1, '{}' FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  INSERT INTO delivery_keys (trace_id, body_hash, raw_id) VALUES ('trace', '\\x00', app.uuid_v7());
  INSERT INTO tombstones (hash) VALUES (sha256('erased'));
  INSERT INTO refused_deliveries (minute, reason, address) VALUES (now(), 'signature_mismatch', '192.0.2.1');
  INSERT INTO gateway_counts (minute, outcome, node) VALUES (now(), 'accepted', 'n');
  INSERT INTO background_jobs (type, payload, user_id) SELECT 'webhook_processing', '{}', u FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  UPDATE background_jobs SET status = 'failed', error = 'x';
  INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, user_id)
    SELECT app.uuid_v7(), 'webhook_processing', 'completed', 5, '{}', 1, now(), now(), u FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  INSERT INTO job_counts (type, status, count) VALUES ('webhook_processing', 'completed', 2);
  INSERT INTO job_days (day, type, status, count, seconds, max_seconds) VALUES (current_date, 'webhook_processing', 'completed', 2, 1, 1);
  INSERT INTO job_kinds (type) VALUES ('webhook_processing');
  INSERT INTO job_leases (epoch, worker_id, type, lease_until, ids) VALUES (1, gen_random_uuid(), 'webhook_processing', now(), '{}');
  INSERT INTO workers (id, lock_key, node, role) VALUES (gen_random_uuid(), 1, 'n', 'all');
  INSERT INTO leases (name, holder, expires_at) VALUES ('leader', gen_random_uuid(), now());
  INSERT INTO schedules (name, job_type, every_s) VALUES ('planted', 'x', 60);
  INSERT INTO operations (kind, started_by) VALUES ('replay', 'system');
  INSERT INTO rate_limits (key, tat) VALUES ('login:192.0.2.1', now());
  INSERT INTO records (user_id, source, model, key, measurement_date, ordering_ms, trace_id, received_at, delivery_id)
    SELECT u, 'oura', 'daily', 'k', current_date, 1, 't', now(), app.uuid_v7() FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
    SELECT u, 'steps', 'oura', current_date, 1, 'count', 1, 't', now(), app.uuid_v7() FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
    SELECT u, 'steps', 'oura', current_date, 80, 0.8, 0.7, 0.9, '{}', 1, 1 FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO confidence_shadow SELECT * FROM metric_confidence_cache;
  INSERT INTO calibration_reports (made_by, scorer_version, registry_version, report) VALUES ('admin@example.com', 1, 1, '{}');
  INSERT INTO person_scores SELECT u, current_date, 80, 1, 0, 0, 0 FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO score_days VALUES (current_date, 'steps', 160, 2, 0, 0, 0, 0, 0, now());
  INSERT INTO provider_states VALUES ('oura', 2, 0, 0, now());
  INSERT INTO rollups VALUES ('planted', now(), 1, 1, current_date, 2);
  INSERT INTO cache_reads VALUES (current_date, 9, 1);
  INSERT INTO score_advice SELECT u, 'steps', 'oura', current_date, 9, 'wear it' FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict)
    SELECT u, 'steps', 'oura', current_date, 'confirmed' FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO source_choices (user_id, metric_name, source) SELECT u, 'steps', 'oura' FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO source_ranks (metric_name, source, rank) VALUES ('planted', 'oura', 1) ON CONFLICT DO NOTHING;
  INSERT INTO edge_function_logs (level, function_name, message, user_id) SELECT 'info', 'f', 'm', u FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  INSERT INTO log_rollups (date, function_name, level, count) VALUES (current_date, 'f', 'info', 1);
  INSERT INTO settings (key, value) VALUES ('planted', 'true');
  INSERT INTO health_snapshots (status, checks) VALUES ('healthy', '{\"queue\": 5}');
  INSERT INTO health_now (holder, until) VALUES (gen_random_uuid(), now());
  INSERT INTO audit_log (actor, action) VALUES ('system', 'test');
  REFRESH MATERIALIZED VIEW latest_unified_metrics;";

/// Somebody at the database: the login role, the statements after BEGIN, and a name for messages.
pub(super) struct Persona {
    pub(super) name: &'static str,
    pool: PgPool,
    prelude: Vec<String>,
}

impl Persona {
    pub(super) async fn begin(&self) -> Transaction<'static, Postgres> {
        let mut tx = self.pool.begin().await.unwrap();
        for statement in &self.prelude {
            tx.execute(AssertSqlSafe(statement.clone())).await.unwrap();
        }
        tx
    }
}

pub(super) struct World {
    pub(super) t: testing::TestDb,
    pub(super) anon: Persona,
    pub(super) web: Persona,
    pub(super) service: Persona,
    pub(super) admin: Persona,
    pub(super) trainer_a: Persona,
    pub(super) trainer_b: Persona,
    pub(super) trainer_without: Persona,
    /// What proves the administrator, the trainer of a and the trainer of b.
    pub(super) proofs: (String, String, String),
    /// What the database keeps of the administrator's session.
    pub(super) stored_hash: String,
    /// `authenticated` without a valid proof, in every way we thought of.
    pub(super) forgers: Vec<Persona>,
}

async fn logged_in(t: &testing::TestDb, email: &str, role: Role, seed: u8) -> (uuid::Uuid, Token) {
    let id = accounts::add(t.db.service(), email, "", role, Some("x")).await.unwrap().unwrap();
    let token = Token::from_bytes([seed; 32]);
    sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
    (id, token)
}

impl World {
    pub(super) async fn new() -> Self {
        let t = testing::database().await;
        // A clone lacks the rights on the database itself; applying the objects again gives them.
        repair(&t.url).await.unwrap();
        t.db.owner().execute(PLANTED).await.unwrap();
        let web = |name, prelude: &[String]| Persona { name, pool: t.db.web.clone(), prelude: prelude.to_vec() };
        let as_user = |name, proof: &str| web(name, &["SET LOCAL ROLE authenticated".into(), format!("SET LOCAL assay.token = '{proof}'")]);
        let (admin_id, admin) = logged_in(&t, "admin@example.com", Role::Admin, 1).await;
        let (a, trainer_a) = logged_in(&t, "a@example.com", Role::Trainer, 2).await;
        let (b, trainer_b) = logged_in(&t, "b@example.com", Role::Trainer, 3).await;
        let (_, trainer_without) = logged_in(&t, "c@example.com", Role::Trainer, 4).await;
        sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) VALUES ($1, 'person-a'), ($2, 'person-b')")
            .bind(a)
            .bind(b)
            .execute(t.db.service())
            .await
            .unwrap();
        let forgers = Self::forgers(&t, admin_id, &admin, &web, &as_user).await;
        Self {
            anon: web("anon", &["SET LOCAL ROLE anon".into()]),
            web: web("assay_web", &[]),
            service: Persona { name: "service_role", pool: t.db.service.clone(), prelude: vec![] },
            admin: as_user("administrator", &admin.proof()),
            trainer_a: as_user("trainer of a", &trainer_a.proof()),
            trainer_b: as_user("trainer of b", &trainer_b.proof()),
            trainer_without: as_user("trainer without clients", &trainer_without.proof()),
            proofs: (admin.proof(), trainer_a.proof(), trainer_b.proof()),
            stored_hash: hex::encode(admin.hash()),
            forgers,
            t,
        }
    }

    async fn forgers(
        t: &testing::TestDb,
        admin_id: uuid::Uuid,
        admin: &Token,
        web: &impl Fn(&'static str, &[String]) -> Persona,
        as_user: &impl Fn(&'static str, &str) -> Persona,
    ) -> Vec<Persona> {
        let expired = [Token::from_bytes([11; 32]), Token::from_bytes([12; 32])];
        sessions::add(t.db.service(), &expired[0], admin_id, -1, 3600, None, None).await.unwrap();
        sessions::add(t.db.service(), &expired[1], admin_id, 3600, -1, None, None).await.unwrap();
        let (gone, disabled) = logged_in(t, "gone@example.com", Role::Admin, 13).await;
        accounts::set_disabled(t.db.service(), gone, true).await.unwrap();
        let keys = [Token::from_bytes([14; 32]), Token::from_bytes([15; 32])];
        let id = api_keys::add(t.db.service(), &keys[0], admin_id, "revoked", &[], None).await.unwrap();
        api_keys::revoke(t.db.service(), id, admin_id, false).await.unwrap();
        api_keys::add(t.db.service(), &keys[1], admin_id, "old", &[], Some(chrono::Utc::now() - chrono::Duration::days(1))).await.unwrap();
        let link = Token::from_bytes([16; 32]);
        let mut conn = t.db.service().acquire().await.unwrap();
        accounts::add_invitation(&mut conn, link.hash(), admin_id, None, 3600).await.unwrap();
        let user = "SET LOCAL ROLE authenticated".to_owned();
        vec![
            web("no token", std::slice::from_ref(&user)),
            as_user("an empty token", ""),
            as_user("a guessed token", &"7".repeat(64)),
            as_user("the cookie instead of its proof", admin.expose()),
            as_user("the stored hash", &hex::encode(admin.hash())),
            as_user("a session idle too long", &expired[0].proof()),
            as_user("a session past its end", &expired[1].proof()),
            as_user("a disabled account", &disabled.proof()),
            as_user("a revoked key", &keys[0].proof()),
            as_user("an expired key", &keys[1].proof()),
            as_user("an invitation", &link.proof()),
            web(
                "role claims",
                &[
                    user.clone(),
                    "SET LOCAL assay.role = 'admin'".into(),
                    "SET LOCAL app.role = 'admin'".into(),
                    format!("SET LOCAL assay.account_id = '{admin_id}'"),
                    "SET LOCAL request.jwt.claims = '{\"role\": \"service_role\"}'".into(),
                    "SET LOCAL search_path = pg_temp, public".into(),
                ],
            ),
            web("a number as token", &[user, format!("SELECT set_config('assay.token', '{admin_id}', true)")]),
        ]
    }
}

/// What came of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Denied,
    Other(String),
}

/// Runs a statement in a savepoint that is rolled back.
pub(super) async fn attempt(conn: &mut PgConnection, sql: &str) -> Outcome {
    let mut savepoint = conn.begin().await.unwrap();
    let outcome = match savepoint.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(_) => Outcome::Done,
        Err(e) => match e.as_database_error().and_then(|d| d.code()).as_deref() {
            Some("42501") => Outcome::Denied,
            _ => Outcome::Other(e.to_string()),
        },
    };
    savepoint.rollback().await.unwrap();
    outcome
}

/// The statement that ends this connection, for whoever may.
pub(super) async fn ending(conn: &mut PgConnection) -> String {
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(conn).await.unwrap();
    format!("SELECT pg_terminate_backend({pid})")
}

/// The rows somebody sees: `None` denied; else how many, and of which persons where the object names them.
pub(super) async fn seen(conn: &mut PgConnection, relation: &str, has_person: bool) -> Option<(i64, BTreeSet<String>)> {
    let mut savepoint = conn.begin().await.unwrap();
    let person = if has_person { "array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL)" } else { "NULL::text[]" };
    let sql = format!("SELECT count(*), {person} FROM {relation}");
    let found: Result<(i64, Option<Vec<String>>), _> = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *savepoint).await;
    savepoint.rollback().await.unwrap();
    match found {
        Ok((n, persons)) => Some((n, persons.unwrap_or_default().into_iter().collect())),
        Err(e) if e.as_database_error().and_then(|d| d.code()).as_deref() == Some("42501") => None,
        Err(e) => panic!("{relation}: {e}"),
    }
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Relation {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) partition: bool,
    pub(super) first_column: Option<String>,
    pub(super) has_person: bool,
}

pub(super) async fn relations(world: &World) -> Vec<Relation> {
    sqlx::query_as(
        "SELECT n.nspname || '.' || c.relname AS name, c.relkind::text AS kind, c.relispartition AS partition,
                (SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1 AND c.relkind <> 'S') AS first_column,
                EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = c.oid AND attname = 'user_id') AS has_person
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_' ORDER BY 1",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap()
}

pub(super) fn expected(name: &str) -> (Eyes, &'static str) {
    let found = RELATIONS.iter().find(|(n, _, _)| *n == name);
    found.map(|(_, eyes, service)| (*eyes, *service)).unwrap_or_else(|| panic!("{name} has no line in RELATIONS: say who may read it"))
}

pub(super) fn both() -> BTreeSet<String> {
    BTreeSet::from(["person-a".to_owned(), "person-b".to_owned()])
}
