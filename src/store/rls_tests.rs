//! Who may do what in the database, tried. The lists come from the catalogue: a new table, view, function or schema
//! without a line in the tables below fails here, and so does a line without an object.
//!
//! Everything is tried as the server's login roles would do it, with SQL of an attacker's choice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{Token, accounts, api_keys, sessions, testing};
use crate::model::Role;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// What `authenticated` may read of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eyes {
    /// Nothing, not even for an administrator: the program's own.
    Closed,
    /// The administrator everything, a trainer nothing.
    AdminOnly,
    /// The administrator everything, a trainer the rows of the assigned clients.
    OwnClients,
    /// The administrator everything, a trainer the rows about itself.
    Itself,
    /// Whoever is logged in everything.
    Members,
}
use Eyes::{AdminOnly, Closed, Itself, Members, OwnClients};

/// Every table, view, materialized view and sequence of ours (partitions and indexes apart): what `authenticated` may
/// read, and what `service_role` may do (Select, Insert, Update, Delete; nobody but the owner may Truncate).
/// `anon` may read nothing but two columns of `health_snapshots`; nobody from the web may write anything.
const RELATIONS: &[(&str, Eyes, &str)] = &[
    ("public._sqlx_migrations", Closed, ""),
    ("public.accounts", Itself, "SIUD"),
    ("public.api_keys", Closed, "SIUD"),
    ("public.audit_log", AdminOnly, "SI"),
    ("public.background_jobs", OwnClients, "SIUD"),
    ("public.background_jobs_dlq", OwnClients, "SIUD"),
    ("public.connections", OwnClients, "SIUD"),
    ("public.data_quality_trends", AdminOnly, "S"),
    ("public.delivery_keys", Closed, "SIUD"),
    ("public.edge_function_logs", OwnClients, "SIUD"),
    ("public.edge_function_performance", AdminOnly, "S"),
    ("public.finding_reviews", OwnClients, "SIUD"),
    ("public.gateway_counts", AdminOnly, "SIUD"),
    ("public.health_snapshots", AdminOnly, "SIUD"),
    ("public.invitations", Closed, "SIUD"),
    ("public.job_count_deltas", AdminOnly, "SIUD"),
    ("public.job_count_deltas_id_seq", Closed, ""),
    ("public.job_counts", AdminOnly, "SIUD"),
    ("public.job_days", AdminOnly, "SIUD"),
    ("public.job_history", OwnClients, "SIUD"),
    ("public.job_kinds", AdminOnly, "SIUD"),
    ("public.job_leases", AdminOnly, "SIUD"),
    ("public.job_processing_stats", AdminOnly, "S"),
    ("public.latest_unified_metrics", Closed, "S"),
    ("public.leases", Closed, "SIUD"),
    ("public.log_rollups", AdminOnly, "SIUD"),
    ("public.login_sessions", Closed, "SIUD"),
    ("public.metric_confidence_cache", OwnClients, "SIUD"),
    ("public.operations", AdminOnly, "SIUD"),
    ("public.persons", OwnClients, "SIUD"),
    ("public.rate_limits", AdminOnly, "SIUD"),
    ("public.records", OwnClients, "SIUD"),
    ("public.refused_deliveries", AdminOnly, "SIUD"),
    ("public.schedules", AdminOnly, "SIUD"),
    ("public.settings", AdminOnly, "SIUD"),
    ("public.source_choices", OwnClients, "SIUD"),
    ("public.source_ranks", Members, "SIUD"),
    ("public.terra_webhooks_raw", OwnClients, "SIUD"),
    ("public.trainer_clients", Itself, "SIUD"),
    ("public.unified_metrics", OwnClients, "SIUD"),
    ("public.webhook_processing_stats", AdminOnly, "S"),
    ("public.workers", AdminOnly, "SIUD"),
];

/// Every function of ours: who may call it (a: anon, u: authenticated, s: service_role).
const FUNCTIONS: &[(&str, &str)] = &[
    ("app.as_timestamptz(text)", "s"),
    ("app.as_uuid(text)", "s"),
    ("app.bury_job()", "s"),
    ("app.caller()", "aus"),
    ("app.caller_clients()", "aus"),
    ("app.caller_id()", "aus"),
    ("app.caller_role()", "aus"),
    ("app.drop_job_history_before(date)", ""),
    ("app.error_fingerprint(text,text)", "s"),
    ("app.jobs_enqueued()", "s"),
    ("app.make_job_history_partition(date)", ""),
    ("app.make_raw_partition(date)", ""),
    ("app.merge_payload(jsonb,jsonb)", "s"),
    ("app.sees_statistics()", "us"),
    ("app.uuid_v7()", "aus"),
    ("app.worker_is_present(bigint)", "s"),
    ("cleanup_rate_limits()", "s"),
    ("payload(terra_webhooks_raw)", "us"),
];

/// The functions that run with their owner's rights, each with its reason. No other may.
const SECURITY_DEFINER: &[(&str, &str)] = &[
    ("app.caller()", "resolves the proof in assay.token; the caller may not read sessions and keys itself"),
    ("app.caller_clients()", "names the caller's own clients without the policies asking themselves"),
];

/// Statements with which somebody at one of the web's roles would try to become more. None may succeed.
const ESCALATIONS: &[&str] = &[
    "SET ROLE service_role",
    "SET ROLE assay_worker",
    "SET LOCAL SESSION AUTHORIZATION assay_worker",
    "SELECT set_config('role', 'service_role', true)",
    "SELECT set_config('role', (SELECT rolname FROM pg_roles WHERE oid = (SELECT datdba FROM pg_database WHERE datname = current_database())), true)",
    "ALTER ROLE authenticated BYPASSRLS",
    "ALTER ROLE assay_web SUPERUSER",
    "GRANT service_role TO assay_web",
    "GRANT SELECT ON public.accounts TO anon",
    "ALTER TABLE public.unified_metrics DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE public.unified_metrics NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY unified_metrics_admin_trainer_select ON public.unified_metrics",
    "CREATE POLICY mine ON public.unified_metrics USING (true)",
    "DROP TABLE public.persons",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE app.mine (a int)",
    "CREATE TEMPORARY TABLE login_sessions (a int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION app.caller_role() RETURNS text LANGUAGE sql AS $$ SELECT 'admin' $$",
    "CREATE VIEW public.mine AS SELECT 1",
    "ALTER FUNCTION app.sees_statistics() SECURITY DEFINER",
    "REFRESH MATERIALIZED VIEW public.latest_unified_metrics",
    "SELECT app.make_raw_partition('2099-01-01')",
    "SELECT cleanup_rate_limits()",
    "LOCK TABLE public.unified_metrics IN ACCESS EXCLUSIVE MODE",
    "COPY public.login_sessions TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SET session_replication_role = replica",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'assay_worker'",
];

/// Rows in every table, for two persons; statements of the owner.
const PLANTED: &str = "
  INSERT INTO persons (user_id) VALUES ('person-a'), ('person-b');
  INSERT INTO connections (terra_user_id, user_id, provider) VALUES ('t-a', 'person-a', 'oura'), ('t-b', 'person-b', 'oura'), ('t-x', NULL, 'oura');
  INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, ordering_ms, body)
    SELECT app.uuid_v7(), 'trace', 'daily', u, 1, '{}' FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  INSERT INTO delivery_keys (trace_id, body_hash, raw_id) VALUES ('trace', '\\x00', app.uuid_v7());
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
  INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict)
    SELECT u, 'steps', 'oura', current_date, 'confirmed' FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO source_choices (user_id, metric_name, source) SELECT u, 'steps', 'oura' FROM unnest(ARRAY['person-a', 'person-b']) u;
  INSERT INTO source_ranks (metric_name, source, rank) VALUES ('planted', 'oura', 1) ON CONFLICT DO NOTHING;
  INSERT INTO edge_function_logs (level, function_name, message, user_id) SELECT 'info', 'f', 'm', u FROM unnest(ARRAY['person-a', 'person-b', NULL]) u;
  INSERT INTO log_rollups (date, function_name, level, count) VALUES (current_date, 'f', 'info', 1);
  INSERT INTO settings (key, value) VALUES ('planted', 'true');
  INSERT INTO health_snapshots (status, checks) VALUES ('healthy', '{\"queue\": 5}');
  INSERT INTO audit_log (actor, action) VALUES ('system', 'test');
  REFRESH MATERIALIZED VIEW latest_unified_metrics;";

/// Somebody at the database: the login role, the statements after BEGIN, and a name for messages.
struct Persona {
    name: &'static str,
    pool: PgPool,
    prelude: Vec<String>,
}

impl Persona {
    async fn begin(&self) -> Transaction<'static, Postgres> {
        let mut tx = self.pool.begin().await.unwrap();
        for statement in &self.prelude {
            tx.execute(AssertSqlSafe(statement.clone())).await.unwrap();
        }
        tx
    }
}

struct World {
    t: testing::TestDb,
    anon: Persona,
    web: Persona,
    service: Persona,
    admin: Persona,
    trainer_a: Persona,
    trainer_b: Persona,
    trainer_without: Persona,
    /// `authenticated` without a valid proof, in every way we thought of.
    forgers: Vec<Persona>,
}

async fn logged_in(t: &testing::TestDb, email: &str, role: Role, seed: u8) -> (uuid::Uuid, Token) {
    let id = accounts::add(t.db.service(), email, "", role, Some("x")).await.unwrap().unwrap();
    let token = Token::from_bytes([seed; 32]);
    sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
    (id, token)
}

impl World {
    async fn new() -> Self {
        let t = testing::database().await;
        // A clone lacks the rights on the database itself; applying the objects again gives them.
        super::repair(&t.url).await.unwrap();
        t.db.owner().execute(PLANTED).await.unwrap();
        let web = |name, prelude: &[String]| Persona { name, pool: t.db.web.clone(), prelude: prelude.to_vec() };
        let as_user = |name, proof: &str| {
            web(name, &["SET LOCAL ROLE authenticated".into(), format!("SET LOCAL assay.token = '{proof}'")])
        };
        let (admin_id, admin) = logged_in(&t, "admin@example.com", Role::Admin, 1).await;
        let (a, trainer_a) = logged_in(&t, "a@example.com", Role::Trainer, 2).await;
        let (b, trainer_b) = logged_in(&t, "b@example.com", Role::Trainer, 3).await;
        let (_, trainer_without) = logged_in(&t, "c@example.com", Role::Trainer, 4).await;
        sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) VALUES ($1, 'person-a'), ($2, 'person-b')").bind(a).bind(b).execute(t.db.service()).await.unwrap();
        let forgers = Self::forgers(&t, admin_id, &admin, &web, &as_user).await;
        Self {
            anon: web("anon", &["SET LOCAL ROLE anon".into()]),
            web: web("assay_web", &[]),
            service: Persona { name: "service_role", pool: t.db.service.clone(), prelude: vec![] },
            admin: as_user("administrator", &admin.proof()),
            trainer_a: as_user("trainer of a", &trainer_a.proof()),
            trainer_b: as_user("trainer of b", &trainer_b.proof()),
            trainer_without: as_user("trainer without clients", &trainer_without.proof()),
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
            web("role claims", &[
                user.clone(),
                "SET LOCAL assay.role = 'admin'".into(),
                "SET LOCAL app.role = 'admin'".into(),
                format!("SET LOCAL assay.account_id = '{admin_id}'"),
                "SET LOCAL request.jwt.claims = '{\"role\": \"service_role\"}'".into(),
                "SET LOCAL search_path = pg_temp, public".into(),
            ]),
            web("a number as token", &[user, format!("SELECT set_config('assay.token', '{admin_id}', true)")]),
        ]
    }
}

/// What came of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done,
    Denied,
    Other(String),
}

/// Runs a statement in a savepoint that is rolled back.
async fn attempt(conn: &mut PgConnection, sql: &str) -> Outcome {
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

/// The rows somebody sees: `None` denied; else how many, and of which persons where the object names them.
async fn seen(conn: &mut PgConnection, relation: &str, has_person: bool) -> Option<(i64, BTreeSet<String>)> {
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
struct Relation {
    name: String,
    kind: String,
    partition: bool,
    first_column: Option<String>,
    has_person: bool,
}

async fn relations(world: &World) -> Vec<Relation> {
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

fn expected(name: &str) -> (Eyes, &'static str) {
    let found = RELATIONS.iter().find(|(n, _, _)| *n == name);
    found.map(|(_, eyes, service)| (*eyes, *service)).unwrap_or_else(|| panic!("{name} has no line in RELATIONS: say who may read it"))
}

fn both() -> BTreeSet<String> {
    BTreeSet::from(["person-a".to_owned(), "person-b".to_owned()])
}

#[tokio::test]
async fn the_lists_of_this_file_are_those_of_the_catalogue() {
    let world = World::new().await;
    let there: BTreeSet<String> = relations(&world).await.into_iter().filter(|r| !r.partition).map(|r| r.name).collect();
    let listed: BTreeSet<String> = RELATIONS.iter().map(|(n, _, _)| (*n).to_owned()).collect();
    assert_eq!(there, listed, "tables, views and sequences");

    let functions: Vec<(String, bool, Option<Vec<String>>, bool, bool, bool, bool, bool)> = sqlx::query_as(
        "SELECT p.oid::regprocedure::text, p.prosecdef, p.proconfig, has_function_privilege('anon', p.oid, 'EXECUTE'),
                has_function_privilege('authenticated', p.oid, 'EXECUTE'), has_function_privilege('service_role', p.oid, 'EXECUTE'),
                has_function_privilege('assay_web', p.oid, 'EXECUTE'),
                EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0)
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    let callers: BTreeMap<String, String> = functions
        .iter()
        .map(|(name, _, _, anon, user, service, _, _)| {
            let letters = [(*anon, 'a'), (*user, 'u'), (*service, 's')].into_iter().filter_map(|(may, c)| may.then_some(c)).collect();
            (name.replace(", ", ","), letters)
        })
        .collect();
    let wanted: BTreeMap<String, String> = FUNCTIONS.iter().map(|(n, who)| ((*n).to_owned(), (*who).to_owned())).collect();
    assert_eq!(callers, wanted, "functions and who may call them");
    assert!(functions.iter().all(|f| !f.6 && !f.7), "nobody calls a function as PUBLIC or as the bare login role");

    let definers: Vec<_> = functions.iter().filter(|f| f.1).collect();
    assert_eq!(definers.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), SECURITY_DEFINER.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    assert!(definers.iter().all(|f| f.2.as_deref() == Some(&["search_path=pg_catalog, pg_temp".to_owned()])), "a fixed search_path");

    let schemas: Vec<String> = sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1").fetch_all(world.t.db.owner()).await.unwrap();
    assert_eq!(schemas, ["app", "public"]);
}

#[tokio::test]
async fn every_table_is_under_forced_row_level_security_and_every_view_under_its_readers_rights() {
    let world = World::new().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND NOT (relrowsecurity AND (relforcerowsecurity OR relispartition)) ORDER BY 1",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(open, ["_sqlx_migrations"], "no right on it is given to anybody");
    let views: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
            AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(views, Vec::<String>::new());
    // Policies for everybody ("TO public") do not exist; reading ones are named as the checklist looks for them.
    let policies: Vec<(String, String, Vec<String>)> =
        sqlx::query_as("SELECT policyname::text, cmd, roles::text[] FROM pg_policies WHERE schemaname = 'public'").fetch_all(world.t.db.owner()).await.unwrap();
    for (name, command, roles) in policies {
        assert!(!roles.contains(&"public".to_owned()), "{name}");
        if roles.contains(&"authenticated".to_owned()) {
            assert!(name.contains("_admin_trainer_") && command == "SELECT", "{name} {command}");
        }
    }
}

#[tokio::test]
async fn the_roles_are_members_of_what_they_need_and_nothing_else() {
    let world = World::new().await;
    let members: BTreeSet<(String, String)> = sqlx::query_as::<_, (String, String)>(
        "SELECT m.member::regrole::text, m.roleid::regrole::text FROM pg_auth_members m
          WHERE m.member::regrole::text IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap()
    .into_iter()
    .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(members, BTreeSet::from([pair("assay_web", "anon"), pair("assay_web", "authenticated"), pair("assay_worker", "service_role")]));
    let (mighty, owning): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication),
                (SELECT count(*) FROM pg_class c WHERE c.relowner IN (SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')))
           FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')",
    )
    .fetch_one(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!((mighty, owning), (0, 0));
}

#[tokio::test]
async fn everybody_reads_what_is_theirs_and_no_more() {
    let world = World::new().await;
    for r in relations(&world).await {
        let mut owner = world.t.db.owner().acquire().await.unwrap();
        let all = seen(&mut owner, &r.name, r.has_person).await.unwrap();
        assert!(r.partition || all.0 > 0, "{}: plant a row, or this proves nothing", r.name);
        let (eyes, service) = if r.partition { (Closed, "") } else { expected(&r.name) };
        let anon_may = r.name == "public.health_snapshots";
        for (persona, may) in [(&world.web, false), (&world.anon, anon_may)] {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            assert_eq!(got.is_some(), may, "{} reads {}", persona.name, r.name);
        }
        for persona in &world.forgers {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            assert_eq!(got.map(|g| g.0), (eyes != Closed).then_some(0), "{} reads {}", persona.name, r.name);
        }
        let got = seen(&mut *world.service.begin().await, &r.name, r.has_person).await;
        assert_eq!(got, service.contains('S').then(|| all.clone()), "service_role reads {}", r.name);
        let got = seen(&mut *world.admin.begin().await, &r.name, r.has_person).await;
        assert_eq!(got, (eyes != Closed).then(|| all.clone()), "administrator reads {}", r.name);
        for (persona, own) in [(&world.trainer_a, Some("person-a")), (&world.trainer_b, Some("person-b")), (&world.trainer_without, None)] {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            let own: BTreeSet<String> = own.map(str::to_owned).into_iter().collect();
            let itself = if r.name == "public.accounts" { 1 } else { i64::try_from(own.len()).unwrap() };
            match eyes {
                Closed => assert_eq!(got, None, "{} reads {}", persona.name, r.name),
                AdminOnly => assert_eq!(got.unwrap().0, 0, "{} reads {}", persona.name, r.name),
                OwnClients => {
                    assert!(r.has_person && all.1 == both(), "{}: plant rows of both persons", r.name);
                    let got = got.unwrap();
                    assert_eq!((got.0, got.1), (i64::try_from(own.len()).unwrap(), own), "{} reads {}", persona.name, r.name);
                }
                Itself => assert_eq!(got.unwrap().0, itself, "{} reads {}", persona.name, r.name),
                Members => assert_eq!(got.unwrap(), all, "{} reads {}", persona.name, r.name),
            }
        }
    }
}

#[tokio::test]
async fn nobody_from_the_web_writes_and_the_service_writes_only_what_it_may() {
    let world = World::new().await;
    let mut web = vec![&world.web, &world.anon, &world.admin, &world.trainer_a];
    web.push(&world.forgers[0]);
    for r in relations(&world).await {
        let (_, service) = if r.partition { (Closed, "") } else { expected(&r.name) };
        let column = r.first_column.clone().unwrap_or_else(|| "last_value".into());
        let statements = [
            ('I', format!("INSERT INTO {} DEFAULT VALUES", r.name)),
            ('U', format!("UPDATE {} SET {column} = DEFAULT", r.name)),
            ('D', format!("DELETE FROM {}", r.name)),
            ('T', format!("TRUNCATE {}", r.name)),
        ];
        let is_table = matches!(r.kind.as_str(), "r" | "p");
        for (letter, sql) in &statements {
            for persona in &web {
                let outcome = attempt(&mut *persona.begin().await, sql).await;
                assert!(if is_table { outcome == Outcome::Denied } else { outcome != Outcome::Done }, "{}: {sql}: {outcome:?}", persona.name);
            }
            let outcome = attempt(&mut *world.service.begin().await, sql).await;
            if is_table {
                assert_eq!(outcome == Outcome::Denied, !service.contains(*letter), "service_role: {sql}: {outcome:?}");
            } else {
                assert_ne!(outcome, Outcome::Done, "service_role: {sql}");
            }
        }
    }
    // A right that only a policy holds back would be one policy away from a leak.
    let granted: Vec<String> = sqlx::query_scalar(
        "SELECT r || ' on ' || c.oid::regclass || ': ' || p
           FROM unnest(ARRAY['anon', 'authenticated', 'assay_web']) r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p, pg_class c
          WHERE c.relnamespace::regnamespace::text IN ('public', 'app') AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege(r, c.oid, p)",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(granted, Vec::<String>::new());
    // The weak points of the system this one replaces, by name.
    for sql in [
        "UPDATE public.metric_confidence_cache SET confidence_score = 100",
        "INSERT INTO public.edge_function_logs (level, function_name, message) VALUES ('info', 'forged', '')",
        "DELETE FROM public.rate_limits",
        "INSERT INTO public.background_jobs (type, payload) VALUES ('x', '{}')",
        "UPDATE public.trainer_clients SET user_id = 'person-b'",
        "UPDATE public.accounts SET role = 'admin'",
        "INSERT INTO public.audit_log (actor, action) VALUES ('somebody else', 'forged')",
    ] {
        for persona in &web {
            assert_eq!(attempt(&mut *persona.begin().await, sql).await, Outcome::Denied, "{}: {sql}", persona.name);
        }
    }
    for sql in ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        assert_eq!(attempt(&mut *world.service.begin().await, sql).await, Outcome::Denied, "{sql}");
    }
}

#[tokio::test]
async fn columns_with_secrets_are_closed_even_where_the_table_is_not() {
    let world = World::new().await;
    for column in ["password_hash", "totp_secret", "totp_last_step"] {
        assert_eq!(attempt(&mut *world.admin.begin().await, &format!("SELECT {column} FROM accounts")).await, Outcome::Denied);
    }
    assert_eq!(attempt(&mut *world.admin.begin().await, "SELECT * FROM accounts").await, Outcome::Denied);
    assert_eq!(attempt(&mut *world.admin.begin().await, "SELECT email, role FROM accounts").await, Outcome::Done);
    assert_eq!(attempt(&mut *world.anon.begin().await, "SELECT checks FROM health_snapshots").await, Outcome::Denied);
    assert_eq!(attempt(&mut *world.anon.begin().await, "SELECT at, status FROM health_snapshots").await, Outcome::Done);
    // The planner's statistics do not tell what the rows would.
    world.t.db.owner().execute("ANALYZE unified_metrics").await.unwrap();
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stats WHERE schemaname = 'public'").fetch_one(&mut *world.trainer_a.begin().await).await.unwrap();
    assert_eq!(known, 0);
}

#[tokio::test]
async fn nobody_becomes_more_than_they_are() {
    let world = World::new().await;
    for persona in [&world.anon, &world.web, &world.forgers[0], &world.trainer_a, &world.admin] {
        for sql in ESCALATIONS {
            let mut tx = persona.begin().await;
            let outcome = attempt(&mut tx, sql).await;
            let nothing_to_end = sql.contains("pg_terminate_backend") && outcome == Outcome::Done;
            assert!(outcome != Outcome::Done || nothing_to_end, "{}: {sql}", persona.name);
        }
        // Switching row-level security off makes a query fail, not see.
        let mut tx = persona.begin().await;
        tx.execute("SET LOCAL row_security = off").await.unwrap();
        assert_eq!(attempt(&mut tx, "SELECT count(*) FROM public.unified_metrics").await, Outcome::Denied, "{}", persona.name);
    }
    for sql in ["SET ROLE authenticated", "SET ROLE assay_web", "ALTER TABLE unified_metrics DISABLE ROW LEVEL SECURITY", "CREATE TABLE public.mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)", "REFRESH MATERIALIZED VIEW latest_unified_metrics", "GRANT service_role TO assay_web"] {
        assert_ne!(attempt(&mut *world.service.begin().await, sql).await, Outcome::Done, "service_role: {sql}");
    }
    // A trainer cannot hand the proof of a role over by leaving the role: outside it the login role has nothing.
    let mut tx = world.trainer_a.begin().await;
    tx.execute("RESET ROLE").await.unwrap();
    assert_eq!(attempt(&mut tx, "SELECT count(*) FROM public.unified_metrics").await, Outcome::Denied);
}

#[tokio::test]
async fn what_is_made_later_is_closed_until_somebody_opens_it() {
    let world = World::new().await;
    world
        .t
        .db
        .owner()
        .execute(
            "CREATE TABLE later (a int); CREATE VIEW later_view AS SELECT * FROM later; CREATE FUNCTION later_function() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE SEQUENCE later_sequence; SELECT app.make_raw_partition('2031-05-01'), app.make_job_history_partition('2031-05-01')",
        )
        .await
        .unwrap();
    for persona in [&world.web, &world.anon, &world.trainer_a, &world.admin, &world.service] {
        for sql in ["SELECT * FROM public.later", "SELECT * FROM public.later_view", "SELECT public.later_function()", "SELECT nextval('public.later_sequence')",
            "SELECT * FROM public.terra_webhooks_raw_203105", "SELECT * FROM public.job_history_20310501", "DELETE FROM public.terra_webhooks_raw_203105"] {
            assert_eq!(attempt(&mut *persona.begin().await, sql).await, Outcome::Denied, "{}: {sql}", persona.name);
        }
    }
    assert!(relations(&world).await.iter().any(|r| r.name == "public.later" && !RELATIONS.iter().any(|(n, _, _)| *n == r.name)));
}

#[tokio::test]
async fn the_proof_is_read_at_once_when_rights_change() {
    let world = World::new().await;
    let mut tx = world.trainer_a.begin().await;
    assert_eq!(seen(&mut tx, "unified_metrics", true).await.unwrap().0, 1);
    tx.rollback().await.unwrap();
    world.t.db.service().execute("DELETE FROM trainer_clients WHERE user_id = 'person-a'").await.unwrap();
    assert_eq!(seen(&mut *world.trainer_a.begin().await, "unified_metrics", true).await.unwrap().0, 0);
    world.t.db.service().execute("UPDATE accounts SET role = 'trainer' WHERE email = 'admin@example.com'").await.unwrap();
    assert_eq!(seen(&mut *world.admin.begin().await, "unified_metrics", true).await.unwrap().0, 0);
    world.t.db.service().execute("DELETE FROM login_sessions").await.unwrap();
    assert_eq!(seen(&mut *world.trainer_b.begin().await, "unified_metrics", true).await.unwrap().0, 0);
}
