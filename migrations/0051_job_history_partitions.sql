-- Partitions of the history are made and dropped beside jobs that are being finished, which write into it all the time: whoever
-- waits for a lock on the parent makes every worker wait behind it.

-- Makes the partition of the given day; harmless when it is there. It is filled and then attached: attaching lets jobs be
-- finished meanwhile, and rows of that day in the default partition would forbid making it in place. Waits for nobody longer
-- than its caller's lock_timeout.
CREATE OR REPLACE FUNCTION app.make_job_history_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name   text := 'job_history_' || to_char(day, 'YYYYMMDD');
  starts timestamptz := day::timestamp AT TIME ZONE 'UTC';
  ends   timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('assay.job_history_partitions'));
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF; -- a concurrent maker won
  EXECUTE format('CREATE TABLE public.%I (LIKE public.job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  -- A partition is reached only through its parent, whose policies hold.
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated, service_role', name);
  IF EXISTS (SELECT FROM public.job_history_default d WHERE d.completed_at >= starts AND d.completed_at < ends) THEN
    LOCK TABLE public.job_history_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH moved AS (DELETE FROM public.job_history_default WHERE completed_at >= $1 AND completed_at < $2 RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', name) USING starts, ends;
  END IF;
  EXECUTE format('ALTER TABLE public.job_history ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
END $$;

-- Drops the partitions of days before the given one, takes their rows out of the counts, and returns how many rows went.
-- Counting takes long and locks the old days alone; dropping locks the parent, so it comes last and all at once. Waits for
-- nobody longer than its caller's lock_timeout; given up, nothing has changed.
CREATE OR REPLACE FUNCTION app.drop_job_history_before(day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  parts name[];
  part  name;
  gone  bigint := 0;
  n     bigint;
BEGIN
  parts := ARRAY(SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE i.inhparent = 'public.job_history'::regclass AND c.relname ~ '^job_history_[0-9]{8}$'
                    AND to_date(right(c.relname, 8), 'YYYYMMDD') < day ORDER BY 1);
  FOREACH part IN ARRAY parts LOOP
    EXECUTE format('LOCK TABLE public.%I IN SHARE ROW EXCLUSIVE MODE', part);
    EXECUTE format('WITH counts AS (SELECT type, status, count(*) AS n FROM public.%I GROUP BY 1, 2),
                         counted AS (INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, -n FROM counts)
                    SELECT coalesce(sum(n), 0) FROM counts', part) INTO n;
    gone := gone + n;
  END LOOP;
  WITH old AS (DELETE FROM public.job_history_default WHERE completed_at < day RETURNING type, status),
       counted AS (INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, -count(*) FROM old GROUP BY 1, 2)
  SELECT count(*) INTO n FROM old;
  FOREACH part IN ARRAY parts LOOP
    EXECUTE format('DROP TABLE public.%I', part);
  END LOOP;
  RETURN gone + n;
END $$;
