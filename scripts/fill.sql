-- Fills a database of its own with years of work, to look at pages and plans at size. Never run it on data you keep.
--
--   createdb assay_big && DATABASE_URL=postgres:///assay_big target/release/assay migrate
--   psql postgres:///assay_big -v persons=50000 -v jobs=5000000 -v deliveries=500000 -f scripts/fill.sql
--
-- Each person gets 60 readings with their scores: four metrics on the last seven days and on eight days before.
\set ON_ERROR_STOP on
\if :{?persons} \else \set persons 50000 \endif
\if :{?jobs} \else \set jobs 5000000 \endif
\if :{?deliveries} \else \set deliveries 500000 \endif
\timing on
SET synchronous_commit = off;
SET work_mem = '256MB';
SET maintenance_work_mem = '256MB';

\echo persons and their connections
INSERT INTO persons (user_id, simulated) SELECT 'big-' || lpad(n::text, 6, '0'), true FROM generate_series(1, :persons) n;
INSERT INTO connections (terra_user_id, user_id, provider, state, last_data_at)
SELECT 'terra-' || n, 'big-' || lpad(n::text, 6, '0'), (ARRAY['whoop', 'garmin', 'oura', 'fitbit'])[1 + n % 4],
       CASE WHEN n % 97 = 0 THEN 'error' ELSE 'active' END, now() - make_interval(mins => (n * 7) % 4000)
  FROM generate_series(1, :persons) n;

\echo readings
INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering_ms, trace_id, received_at, delivery_id)
SELECT 'big-' || lpad(n::text, 6, '0'), m.name, (ARRAY['whoop', 'garmin', 'oura', 'fitbit'])[1 + n % 4],
       current_date - d, m.base * (0.85 + 0.3 * random()), m.unit, now() - make_interval(days => d),
       (extract(epoch FROM now()) * 1000)::bigint - d::bigint * 86400000, 'trace-' || n || '-' || d, now() - make_interval(days => d), gen_random_uuid()
  FROM generate_series(1, :persons) n,
       (VALUES ('steps', 9000.0, 'count'), ('resting_heart_rate', 56.0, 'bpm'), ('hrv_rmssd', 62.0, 'ms'), ('sleep_duration', 26400.0, 's')) AS m (name, base, unit),
       (SELECT generate_series(0, 6) UNION ALL SELECT generate_series(10, 80, 10)) AS days (d);

\echo scores
INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
SELECT user_id, metric_name, source, measurement_date, s, s / 100.0, greatest(s - 12, 0) / 100.0, least(s + 9, 100) / 100.0,
       '{"prior": 1.31, "completeness": -0.22, "consistency": 0.4, "plausibility": 0.05, "currency": -0.1}', 1, 1
  FROM (SELECT *, (25 + 72 * sqrt(random()))::int AS s FROM unified_metrics) m WHERE random() > 0.02;

\echo jobs in history, a fortnight
SELECT count(app.make_job_history_partition(current_date - n)) FROM generate_series(1, 13) n;
INSERT INTO job_history (id, type, status, priority, payload, result, attempts, created_at, scheduled_at, started_at, completed_at, user_id)
SELECT app.uuid_v7(), (ARRAY['webhook_processing', 'confidence_calculation', 'webhook_processing', 'recalculation', 'log_rollup'])[1 + n % 5],
       CASE WHEN n % 1000 = 0 THEN 'cancelled' ELSE 'completed' END, 5,
       jsonb_build_object('v', 1, 'delivery_id', 'd' || n), '{"v": 1}', 1 + (n % 50 = 0)::int, t, t, t + interval '20 ms', t + interval '45 ms',
       CASE WHEN n % 5 < 3 THEN 'big-' || lpad((1 + n % :persons)::text, 6, '0') END
  FROM (SELECT n, now() - interval '13 days' + n * (interval '13 days' / :jobs) AS t FROM generate_series(1, :jobs) n) j;
INSERT INTO job_count_deltas (type, status, delta, day, seconds, max_seconds)
SELECT type, status, count(*), (created_at AT TIME ZONE 'UTC')::date, count(*) * 0.025, 0.025 FROM job_history GROUP BY 1, 2, 4;

\echo jobs that wait and jobs that failed
INSERT INTO background_jobs (type, payload, scheduled_at) SELECT 'big_waiting', jsonb_build_object('n', n), now() + interval '30 days' FROM generate_series(1, 20000) n;
INSERT INTO background_jobs (type, payload, attempts, started_at, user_id)
SELECT 'big_failing', jsonb_build_object('n', n), 5, now(), 'big-' || lpad((1 + n % :persons)::text, 6, '0') FROM generate_series(1, 2000) n;
UPDATE background_jobs SET status = 'failed', failed_at = now(), completed_at = now(),
       error = 'The provider answered 50' || (ascii(right(id::text, 1)) % 4) || ' after ' || (ascii(left(right(id::text, 3), 1))) || ' ms'
 WHERE type = 'big_failing';
INSERT INTO job_count_deltas (type, status, delta) VALUES ('big_failing', 'pending', -2000), ('big_failing', 'failed', 2000);

\echo deliveries, their keys, what the gateway counted, log lines
INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, terra_user_id, status, error, ordering_ms, headers, body, processed_count, processed_at)
SELECT gen_random_uuid(), t, 'big-' || n, (ARRAY['daily', 'sleep', 'activity', 'body'])[1 + n % 4], (ARRAY['whoop', 'garmin', 'oura', 'fitbit'])[1 + n % 4],
       'big-' || lpad((1 + n % :persons)::text, 6, '0'), 'terra-' || (1 + n % :persons),
       CASE WHEN n % 5000 = 0 THEN 'failed' WHEN n % 777 = 0 THEN 'ignored' ELSE 'completed' END, CASE WHEN n % 5000 = 0 THEN 'The body holds no data.' END,
       (extract(epoch FROM t) * 1000)::bigint, '{"terra-signature": "t=1,v1=0"}',
       convert_to('{"type":"daily","user":{"reference_id":"big"},"data":[{"steps":' || n || '}]}', 'UTF8'), 4, t + interval '300 ms'
  FROM (SELECT n, now() - interval '20 days' + n * (interval '20 days' / :deliveries) AS t FROM generate_series(1, :deliveries) n) d;
INSERT INTO delivery_keys (trace_id, body_hash, raw_id, created_at) SELECT trace_id, sha256(body), id, created_at FROM terra_webhooks_raw WHERE trace_id LIKE 'big-%';
INSERT INTO gateway_counts (minute, outcome, node, count)
SELECT date_trunc('minute', now()) - make_interval(mins => m), o.word, 'node-' || k, o.base + m % 7
  FROM generate_series(0, 1440) m, generate_series(1, 2) k, (VALUES ('accepted', 40), ('duplicate', 1), ('refused', 0)) AS o (word, base);
INSERT INTO edge_function_logs (id, timestamp, level, function_name, message, request_id, user_id, duration_ms)
SELECT app.uuid_v7(), now() - n * interval '3 seconds', CASE WHEN n % 200 = 0 THEN 'error' WHEN n % 50 = 0 THEN 'warn' ELSE 'info' END,
       (ARRAY['webhook-terra', 'job-worker', 'health-check'])[1 + n % 3], 'Line ' || n || ' of the fill', 'request-' || n / 3, NULL, n % 90
  FROM generate_series(1, 500000) n;
INSERT INTO health_snapshots (at, status, checks) SELECT now() - n * interval '1 minute', CASE WHEN n % 500 = 0 THEN 'degraded' ELSE 'healthy' END, '{}' FROM generate_series(1, 40000) n
ON CONFLICT DO NOTHING;
INSERT INTO audit_log (at, actor, action, subject) SELECT now() - n * interval '1 minute', 'admin@example.com', 'jobs.retry', 'job ' || n FROM generate_series(1, 50000) n;

\echo statistics and visibility
VACUUM ANALYZE;
\o /dev/null
REFRESH MATERIALIZED VIEW latest_unified_metrics;
