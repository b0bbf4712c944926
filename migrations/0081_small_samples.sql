-- ANALYZE comes to a table that grows every minute, in the midst of the deliveries. Its sample is 300 rows for each step of a
-- column's target: a hundred steps are 30,000 rows, a tenth to half a second of a core for each of these tables; a fifth of
-- the steps costs a sixth to a third of it. What is asked of them is planned as before (store/scan_tests.rs). Partitions to come take over their parent's.
DO $$
DECLARE c record;
BEGIN
  FOR c IN
    SELECT attrelid::regclass AS name, string_agg(format('ALTER COLUMN %I SET STATISTICS 20', attname), ', ') AS actions
      FROM pg_attribute
     WHERE attrelid IN ('public.terra_webhooks_raw'::regclass, 'public.background_jobs'::regclass, 'public.delivery_keys'::regclass)
       AND attnum > 0 AND NOT attisdropped
     GROUP BY attrelid
  LOOP
    EXECUTE format('ALTER TABLE %s %s', c.name, c.actions);
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION app.make_raw_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  first  date := date_trunc('month', month);
  name   text := 'terra_webhooks_raw_' || to_char(first, 'YYYYMM');
  starts timestamptz := first::timestamp AT TIME ZONE 'UTC';
  ends   timestamptz := (first + interval '1 month')::timestamp AT TIME ZONE 'UTC';
  samples text;
BEGIN
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('assay.raw_partitions'));
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF; -- a concurrent maker won
  EXECUTE format('CREATE TABLE public.%I (LIKE public.terra_webhooks_raw INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  SELECT string_agg(format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget), ', ') INTO samples
    FROM pg_attribute WHERE attrelid = 'public.terra_webhooks_raw'::regclass AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0;
  IF samples IS NOT NULL THEN
    EXECUTE format('ALTER TABLE public.%I %s', name, samples);
  END IF;
  -- A partition is reached only through its parent, whose policies hold.
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated, service_role', name);
  IF EXISTS (SELECT FROM public.terra_webhooks_raw_default d WHERE d.created_at >= starts AND d.created_at < ends) THEN
    LOCK TABLE public.terra_webhooks_raw_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH moved AS (DELETE FROM public.terra_webhooks_raw_default WHERE created_at >= $1 AND created_at < $2 RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', name) USING starts, ends;
  END IF;
  EXECUTE format('ALTER TABLE public.terra_webhooks_raw ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
END $$;
