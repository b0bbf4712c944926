-- The latest value of each metric, put back where the rollback dropped it: apart from objects.sql and before it, in a
-- transaction of its own. It reads all values, which takes long, and meanwhile nobody may wait for a lock of ours.
-- Newest day first; within a day the person's chosen source, else the evidence's rank, else the source's name.
DO $$ BEGIN
  IF to_regclass('public.latest_unified_metrics') IS NULL THEN
    CREATE MATERIALIZED VIEW latest_unified_metrics AS
      SELECT DISTINCT ON (m.user_id, m.metric_name)
             m.user_id, m.metric_name, m.value, m.unit, m.measurement_date, m.source, m.measured_at, m.received_at
        FROM unified_metrics m
        LEFT JOIN source_choices c ON c.user_id = m.user_id AND c.metric_name = m.metric_name
        LEFT JOIN source_ranks r ON r.metric_name = m.metric_name AND r.source = m.source
       ORDER BY m.user_id, m.metric_name, m.measurement_date DESC, (c.source IS NOT DISTINCT FROM m.source) DESC,
                coalesce(r.rank, 1000), m.source
      WITH DATA;
    CREATE UNIQUE INDEX latest_unified_metrics_key ON latest_unified_metrics (user_id, metric_name);
  END IF;
END $$;
