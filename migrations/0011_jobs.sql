-- Whoever inserts jobs says when the oldest of them became due and in which lane, so that a worker can claim at once and
-- knows from where on to look: kind@microseconds@priority.
CREATE OR REPLACE FUNCTION app.jobs_enqueued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
