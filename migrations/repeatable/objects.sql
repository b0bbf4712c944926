-- What may be dropped and put back at any time: the rate limiter's state, the dead letters, the views, the
-- policies. Every statement here can run again on a database that has it all: it is applied after each
-- migration, whenever this file changed, and by `assay migrate --repair`. Nothing else depends on the three
-- objects that the checklist's rollback drops (background_jobs_dlq, rate_limits, latest_unified_metrics).
-- Whoever applies it holds the tables already (migrate.rs), so it must not take long: what does lies in latest.sql.

-- ---- rate limits (GCRA; see gateway/limiter.rs) ------------------------------------------------------
-- One theoretical arrival time a key. UNLOGGED: after a crash everybody starts with a full allowance.
CREATE UNLOGGED TABLE IF NOT EXISTS rate_limits (
  key          text PRIMARY KEY,           -- '<policy>:<address, account or sender>'
  tat          timestamptz NOT NULL,       -- theoretical arrival time
  window_start timestamptz NOT NULL DEFAULT now(),
  count        bigint NOT NULL DEFAULT 0,  -- requests admitted since window_start, for people to read
  refused      bigint NOT NULL DEFAULT 0,
  updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS rate_limits_tat ON rate_limits (tat);

-- Deletes what no longer limits anybody; returns how many. Harmless at any time, also without the table.
CREATE OR REPLACE FUNCTION cleanup_rate_limits() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint := 0;
BEGIN
  IF to_regclass('public.rate_limits') IS NOT NULL THEN
    DELETE FROM public.rate_limits WHERE tat < now() - interval '1 hour';
    GET DIAGNOSTICS n = ROW_COUNT;
  END IF;
  RETURN n;
END $$;
REVOKE ALL ON FUNCTION cleanup_rate_limits() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cleanup_rate_limits() TO service_role;

-- ---- dead letters -------------------------------------------------------------------------------------
-- No foreign key to the job: a dead letter outlives it. A second death of the same job is a second row.
CREATE TABLE IF NOT EXISTS background_jobs_dlq (
  id              uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  original_job_id uuid NOT NULL,
  type            text NOT NULL,
  payload         jsonb NOT NULL,
  error           text,
  reason_class    text NOT NULL DEFAULT 'exhausted' CHECK (reason_class IN ('exhausted', 'permanent', 'lost')),
  fingerprint     text NOT NULL DEFAULT '',  -- equal for errors that differ only in ids and numbers
  attempts        integer NOT NULL DEFAULT 0,
  user_id         text,
  job_created_at  timestamptz,
  failed_at       timestamptz NOT NULL DEFAULT now(),
  retried         boolean NOT NULL DEFAULT false,
  retried_at      timestamptz,
  discarded_at    timestamptz,
  note            text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS background_jobs_dlq_open ON background_jobs_dlq (failed_at DESC) WHERE retried = false AND discarded_at IS NULL;
CREATE INDEX IF NOT EXISTS background_jobs_dlq_job ON background_jobs_dlq (original_job_id);
CREATE INDEX IF NOT EXISTS background_jobs_dlq_group ON background_jobs_dlq (fingerprint, failed_at DESC);
CREATE INDEX IF NOT EXISTS background_jobs_dlq_user ON background_jobs_dlq (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS background_jobs_dlq_dealt ON background_jobs_dlq (coalesce(discarded_at, retried_at) DESC, id DESC)
  WHERE coalesce(discarded_at, retried_at) IS NOT NULL;

CREATE OR REPLACE FUNCTION app.error_fingerprint(kind text, error text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT substr(md5(kind || ':' || regexp_replace(regexp_replace(coalesce(split_part(error, E'\n', 1), ''),
    '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '#', 'gi'), '[0-9]+', '#', 'g')), 1, 12)
$$;
GRANT EXECUTE ON FUNCTION app.error_fingerprint(text, text) TO service_role;

-- A job that reached 'failed' is dead: it is copied, unless the table was dropped by the rollback. The worker
-- writes why into the newest entry of `errors`; a status set by hand has none.
CREATE OR REPLACE FUNCTION app.bury_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass('public.background_jobs_dlq') IS NOT NULL THEN
    INSERT INTO public.background_jobs_dlq (original_job_id, type, payload, error, reason_class, fingerprint, attempts, user_id, job_created_at)
    VALUES (NEW.id, NEW.type, NEW.payload, NEW.error,
            CASE WHEN NEW.errors -> -1 ->> 'class' IN ('permanent', 'lost') THEN NEW.errors -> -1 ->> 'class'
                 WHEN NEW.attempts >= NEW.max_attempts THEN 'exhausted' ELSE 'permanent' END,
            app.error_fingerprint(NEW.type, NEW.error), NEW.attempts, CASE WHEN NOT app.is_erased(NEW.user_id) THEN NEW.user_id END, NEW.created_at);
  END IF;
  RETURN NULL;
EXCEPTION WHEN undefined_table OR undefined_column THEN RETURN NULL; -- dropped or altered by hand in this very moment
END $$;
GRANT EXECUTE ON FUNCTION app.bury_job() TO service_role;
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded' AND tgrelid = 'public.background_jobs'::regclass) THEN
    CREATE TRIGGER on_max_retries_exceeded AFTER UPDATE OF status ON background_jobs
      FOR EACH ROW WHEN (NEW.status = 'failed' AND OLD.status IS DISTINCT FROM 'failed') EXECUTE FUNCTION app.bury_job();
  END IF;
END $$;

-- ---- the latest value of each metric ----------------------------------------------------------------------
-- Made before everything here, by latest.sql.
REVOKE ALL ON latest_unified_metrics FROM anon, authenticated;
GRANT SELECT ON latest_unified_metrics TO service_role;

-- ---- views ------------------------------------------------------------------------------------------------
-- Statistics are for administrators and for the program itself; a trainer gets no rows, not even totals.
CREATE OR REPLACE FUNCTION app.sees_statistics() RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT current_user NOT IN ('anon', 'authenticated') OR coalesce(app.caller_role() = 'admin', false)
$$;
GRANT EXECUTE ON FUNCTION app.sees_statistics() TO authenticated, service_role;

-- Finished jobs come from what the statements counted, not from millions of rows of history.
CREATE OR REPLACE VIEW job_processing_stats WITH (security_invoker = true) AS
  SELECT date, job_type, status, sum(count)::bigint AS count,
         sum(seconds) / nullif(sum(count) FILTER (WHERE seconds IS NOT NULL), 0) AS avg_duration_seconds,
         max(max_seconds) AS max_duration_seconds
    FROM (SELECT (created_at AT TIME ZONE 'UTC')::date AS date, type AS job_type, status, count(*) AS count,
                 sum(extract(epoch FROM completed_at - started_at))::double precision AS seconds,
                 max(extract(epoch FROM completed_at - started_at))::double precision AS max_seconds
            FROM background_jobs GROUP BY 1, 2, 3
          UNION ALL
          SELECT day, type, status, count, seconds, max_seconds FROM job_days
          UNION ALL
          SELECT day, type, status, delta, seconds, max_seconds FROM job_count_deltas WHERE day IS NOT NULL) j
   WHERE date > (now() AT TIME ZONE 'UTC')::date - 7 AND (SELECT app.sees_statistics())
   GROUP BY 1, 2, 3 HAVING sum(count) <> 0;

CREATE OR REPLACE VIEW webhook_processing_stats WITH (security_invoker = true) AS
  SELECT (created_at AT TIME ZONE 'UTC')::date AS date, status, count(*) AS count,
         avg(extract(epoch FROM processed_at - created_at))::double precision AS avg_processing_seconds
    FROM terra_webhooks_raw
   WHERE created_at > now() - interval '7 days' AND (SELECT app.sees_statistics())
   GROUP BY 1, 2;

-- By the day that was measured, so that a recalculation does not flatten history.
CREATE OR REPLACE VIEW data_quality_trends WITH (security_invoker = true) AS
  SELECT measurement_date AS date, metric_name, avg(confidence_score)::double precision AS avg_confidence,
         count(*) AS metrics_count,
         count(*) FILTER (WHERE confidence_score >= 80) AS excellent_count,
         count(*) FILTER (WHERE confidence_score >= 60 AND confidence_score < 80) AS good_count,
         count(*) FILTER (WHERE confidence_score >= 40 AND confidence_score < 60) AS fair_count,
         count(*) FILTER (WHERE confidence_score < 40) AS poor_count
    FROM metric_confidence_cache
   WHERE (SELECT app.sees_statistics())
   GROUP BY 1, 2;

-- A line of the workers stands for some seconds of a kind's runs: `calls` batches of duration_ms on average, max_ms at most.
CREATE OR REPLACE VIEW edge_function_performance WITH (security_invoker = true) AS
  SELECT (timestamp AT TIME ZONE 'UTC')::date AS date, function_name, sum(c.calls)::bigint AS invocations,
         coalesce(sum(c.calls) FILTER (WHERE level = 'error'), 0)::bigint AS errors,
         (sum(duration_ms * c.calls) / nullif(sum(c.calls) FILTER (WHERE duration_ms IS NOT NULL), 0))::double precision AS avg_duration_ms,
         max(c.longest) AS max_duration_ms,
         min(timestamp) AS first_invocation, max(timestamp) AS last_invocation
    FROM edge_function_logs l CROSS JOIN LATERAL (SELECT
           CASE jsonb_typeof(metadata -> 'calls') WHEN 'number' THEN (metadata ->> 'calls')::numeric::bigint ELSE 1 END AS calls,
           CASE jsonb_typeof(metadata -> 'max_ms') WHEN 'number' THEN (metadata ->> 'max_ms')::numeric::int ELSE duration_ms END AS longest) c
   WHERE timestamp > now() - interval '7 days' AND (SELECT app.sees_statistics())
   GROUP BY 1, 2;

-- ---- rights and policies ------------------------------------------------------------------------------------
-- Who may touch a table at all (GRANT) and which rows (POLICY). Reads of a person's data come in as
-- 'authenticated'; the pipeline works as 'service_role'; the owner migrates and runs the checklist and,
-- because row-level security is forced, has a policy of its own.
DO $$
DECLARE
  t text;
  owner name := current_user;
  admin_only text := '(SELECT app.caller_role()) = ''admin''';
  own_clients text := '(SELECT app.caller_role()) = ''admin'' OR user_id IN (SELECT app.caller_clients())';
BEGIN
  FOREACH t IN ARRAY ARRAY[
    -- a person's rows: the administrator sees all, a trainer the assigned clients'
    'persons', 'connections', 'terra_webhooks_raw', 'background_jobs', 'job_history', 'background_jobs_dlq', 'records', 'unified_metrics',
    'metric_confidence_cache', 'finding_reviews', 'source_choices', 'edge_function_logs', 'trainer_clients', 'person_scores', 'score_advice', 'roster',
    -- the administrator's rows
    'delivery_keys', 'refused_deliveries', 'gateway_counts', 'job_count_deltas', 'job_counts', 'job_days', 'job_kinds', 'job_leases', 'workers', 'leases', 'schedules',
    'operations', 'rate_limits', 'audit_log', 'settings', 'log_rollups', 'login_sessions', 'invitations', 'api_keys', 'accounts',
    'health_snapshots', 'confidence_shadow', 'calibration_reports', 'health_now', 'score_days', 'provider_states', 'rollups', 'cache_reads', 'tombstones', 'tombstone_key',
    -- everybody's
    'source_ranks'
  ] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated', t);
    EXECUTE format('DROP POLICY IF EXISTS %I ON public.%I', t || '_owner', t);
    EXECUTE format('CREATE POLICY %I ON public.%I FOR ALL TO %I USING (true) WITH CHECK (true)', t || '_owner', t, owner);
    EXECUTE format('DROP POLICY IF EXISTS %I ON public.%I', t || '_service', t);
    EXECUTE format('CREATE POLICY %I ON public.%I FOR ALL TO service_role USING (true) WITH CHECK (true)', t || '_service', t);
    IF t = 'audit_log' THEN
      EXECUTE format('REVOKE ALL ON public.%I FROM service_role', t);
      EXECUTE format('GRANT SELECT, INSERT ON public.%I TO service_role', t);
    ELSE
      EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO service_role', t);
    END IF;
    EXECUTE format('DROP POLICY IF EXISTS %I ON public.%I', t || '_admin_trainer_select', t);
    IF t IN ('login_sessions', 'invitations', 'api_keys', 'leases', 'delivery_keys', 'health_now', 'tombstones', 'tombstone_key') THEN
      CONTINUE; -- read by the program only
    END IF;
    IF t = 'accounts' THEN
      GRANT SELECT (id, email, display_name, role, disabled_at, preferences, created_at) ON public.accounts TO authenticated;
      EXECUTE format('CREATE POLICY %I ON public.%I FOR SELECT TO authenticated USING (%s OR id = (SELECT app.caller_id()))',
        t || '_admin_trainer_select', t, admin_only);
      CONTINUE;
    END IF;
    EXECUTE format('GRANT SELECT ON public.%I TO authenticated', t);
    EXECUTE format('CREATE POLICY %I ON public.%I FOR SELECT TO authenticated USING (%s)', t || '_admin_trainer_select', t,
      CASE WHEN t = 'source_ranks' THEN '(SELECT app.caller_role()) IS NOT NULL'
           WHEN t = 'trainer_clients' THEN '(SELECT app.caller_role()) = ''admin'' OR trainer_id = (SELECT app.caller_id())'
           WHEN t IN ('refused_deliveries', 'gateway_counts', 'job_count_deltas', 'job_counts', 'job_days', 'job_kinds', 'job_leases', 'workers', 'schedules', 'operations', 'rate_limits',
                      'audit_log', 'settings', 'log_rollups', 'health_snapshots', 'confidence_shadow', 'calibration_reports', 'score_days', 'provider_states', 'rollups', 'cache_reads') THEN admin_only
           ELSE own_clients END);
  END LOOP;
  -- The status page needs no login: worst status by time, nothing else. What was checked, with its totals, is for
  -- administrators; a trainer's status page reads as anon too.
  GRANT SELECT (at, status) ON public.health_snapshots TO anon;
  DROP POLICY IF EXISTS health_snapshots_anon ON public.health_snapshots;
  CREATE POLICY health_snapshots_anon ON public.health_snapshots FOR SELECT TO anon USING (true);
  -- A partition is reached through its parent only, where the policies are: nobody gets a right on it.
  FOR t IN SELECT c.relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND pg_has_role(c.relowner, 'USAGE') LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated, service_role', t);
  END LOOP;
  -- Temporary tables are nobody's business here; PUBLIC could make them by default.
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
REVOKE ALL ON latest_unified_metrics, job_processing_stats, webhook_processing_stats, data_quality_trends, edge_function_performance FROM PUBLIC, anon;
GRANT SELECT ON job_processing_stats, webhook_processing_stats, data_quality_trends, edge_function_performance TO authenticated, service_role;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO service_role;
REVOKE ALL ON FUNCTION app.make_raw_partition(date), app.make_job_history_partition(date), app.drop_job_history_before(date), app.drop_raw_before(date) FROM PUBLIC;
