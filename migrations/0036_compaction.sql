-- Every job leaves two dead rows behind, and while an old transaction is open VACUUM may not remove them. The hot tables
-- hold few living rows, so these can be written anew into empty tables instead, which costs milliseconds and takes the
-- dead away whatever is open. The leader calls it when it is worth it (jobs/tidy.rs). Not seen by a transaction that
-- has used the table: TRUNCATE waits for it, and is given up. One that has not and reads the queue afterwards under its
-- old snapshot finds it empty.
CREATE FUNCTION app.compact_jobs(most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE kept public.background_jobs[];
BEGIN
  LOCK TABLE public.background_jobs IN ACCESS EXCLUSIVE MODE;
  kept := ARRAY(SELECT j FROM public.background_jobs j LIMIT most + 1);
  IF cardinality(kept) > most THEN
    RETURN NULL; -- too many to be moved while everybody waits
  END IF;
  PERFORM set_config('assay.moving', 'on', true);
  TRUNCATE public.background_jobs;
  INSERT INTO public.background_jobs SELECT (k).* FROM unnest(kept) AS k;
  PERFORM set_config('assay.moving', 'off', true);
  RETURN cardinality(kept);
END $$;

CREATE FUNCTION app.compact_leases() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE kept public.job_leases[];
BEGIN
  LOCK TABLE public.job_leases IN ACCESS EXCLUSIVE MODE;
  kept := ARRAY(SELECT l FROM public.job_leases l);
  TRUNCATE public.job_leases;
  INSERT INTO public.job_leases SELECT (k).* FROM unnest(kept) AS k;
  RETURN cardinality(kept);
END $$;

-- As before, but silent while jobs are only moved.
CREATE OR REPLACE FUNCTION app.jobs_enqueued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('assay.moving', true) = 'on' THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, count(*) FROM inserted GROUP BY type, status;
  -- A NOTIFY lets only one transaction of the database commit at a time: who inserts by the thousand says that it
  -- will notify after its commit instead.
  IF current_setting('assay.notify_later', true) IS DISTINCT FROM 'on' THEN
    PERFORM pg_notify('assay_jobs', type || '@' || (extract(epoch FROM oldest) * 1000000)::bigint || '@' || priority)
       FROM (SELECT type, priority, min(scheduled_at) AS oldest FROM inserted WHERE status = 'pending' GROUP BY type, priority) t
      WHERE oldest <= now();
  END IF;
  RETURN NULL;
END $$;
