//! What is expected of every object in the database, and what nobody may do.

/// What `authenticated` may read of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eyes {
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
pub(super) const RELATIONS: &[(&str, Eyes, &str)] = &[
    ("public._sqlx_migrations", Closed, ""),
    ("public.accounts", Itself, "SIUD"),
    ("public.api_keys", Closed, "SIUD"),
    ("public.audit_log", AdminOnly, "SI"),
    ("public.background_jobs", OwnClients, "SIUD"),
    ("public.background_jobs_dlq", OwnClients, "SIUD"),
    ("public.cache_reads", AdminOnly, "SIUD"),
    ("public.calibration_reports", AdminOnly, "SIUD"),
    ("public.confidence_shadow", AdminOnly, "SIUD"),
    ("public.connections", OwnClients, "SIUD"),
    ("public.data_quality_trends", AdminOnly, "S"),
    ("public.delivery_keys", Closed, "SIUD"),
    ("public.edge_function_logs", OwnClients, "SIUD"),
    ("public.edge_function_performance", AdminOnly, "S"),
    ("public.finding_reviews", OwnClients, "SIUD"),
    ("public.gateway_counts", AdminOnly, "SIUD"),
    ("public.health_now", Closed, "SIUD"),
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
    ("public.person_scores", OwnClients, "SIUD"),
    ("public.persons", OwnClients, "SIUD"),
    ("public.rate_limits", AdminOnly, "SIUD"),
    ("public.provider_states", AdminOnly, "SIUD"),
    ("public.records", OwnClients, "SIUD"),
    ("public.refused_deliveries", AdminOnly, "SIUD"),
    ("public.rollups", AdminOnly, "SIUD"),
    ("public.roster", OwnClients, "SIUD"),
    ("public.schedules", AdminOnly, "SIUD"),
    ("public.score_days", AdminOnly, "SIUD"),
    ("public.score_advice", OwnClients, "SIUD"),
    ("public.settings", AdminOnly, "SIUD"),
    ("public.source_choices", OwnClients, "SIUD"),
    ("public.source_ranks", Members, "SIUD"),
    ("public.terra_webhooks_raw", OwnClients, "SIUD"),
    ("public.tombstone_key", Closed, "SIUD"),
    ("public.tombstones", Closed, "SIUD"),
    ("public.trainer_clients", Itself, "SIUD"),
    ("public.unified_metrics", OwnClients, "SIUD"),
    ("public.webhook_processing_stats", AdminOnly, "S"),
    ("public.workers", AdminOnly, "SIUD"),
];

/// Every function of ours: who may call it (a: anon, u: authenticated, s: service_role).
pub(super) const FUNCTIONS: &[(&str, &str)] = &[
    ("app.as_timestamptz(text)", "s"),
    ("app.as_uuid(text)", "s"),
    ("app.bury_job()", "s"),
    ("app.caller()", "aus"),
    ("app.caller_clients()", "aus"),
    ("app.caller_id()", "aus"),
    ("app.caller_role()", "aus"),
    ("app.drop_job_history_before(date)", ""),
    ("app.drop_raw_before(date)", ""),
    ("app.error_fingerprint(text,text)", "s"),
    ("app.is_erased(text)", "s"),
    ("app.jobs_enqueued()", "s"),
    ("app.make_job_history_partition(date)", ""),
    ("app.make_raw_partition(date)", ""),
    ("app.compact_jobs(bigint)", ""),
    ("app.compact_leases()", ""),
    ("app.lock_jobs(uuid[],bigint)", "s"),
    ("app.merge_payload(jsonb,jsonb)", "s"),
    ("app.merge_payloads(jsonb)", "s"),
    ("app.oldest_waiting()", "us"),
    ("app.persons_in_roster()", ""),
    ("app.received_at(uuid)", "us"),
    ("app.sees_statistics()", "us"),
    ("app.tombstone(text,text)", "s"),
    ("app.uuid_v7()", "aus"),
    ("app.worker_is_present(bigint)", "s"),
    ("cleanup_rate_limits()", "s"),
    ("payload(terra_webhooks_raw)", "us"),
];

/// The functions that run with their owner's rights, each with its reason. No other may.
pub(super) const SECURITY_DEFINER: &[(&str, &str)] = &[
    ("app.caller()", "resolves the proof in assay.token; the caller may not read sessions and keys itself"),
    ("app.caller_clients()", "names the caller's own clients without the policies asking themselves"),
    ("app.oldest_waiting()", "a moment, nobody's in particular; else a trainer's question would be put to every job of the queue"),
];

/// Statements with which somebody at one of the web's roles would try to become more. None may succeed.
pub(super) const ESCALATIONS: &[&str] = &[
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
];
