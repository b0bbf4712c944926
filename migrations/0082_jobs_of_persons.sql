-- A delivery's own job, of the same id, is found by way of its delivery, which has an index by person already: of the work that
-- a delivery costs PostgreSQL a second such entry was a tenth. By person the index finds the other jobs: those of other kinds, those
-- that name a delivery which was here before (they have a key), and the dead ones.
DROP INDEX background_jobs_user;
CREATE INDEX background_jobs_user ON background_jobs (user_id, created_at)
  WHERE user_id IS NOT NULL AND (type <> 'webhook_processing' OR unique_key IS NOT NULL OR failed_at IS NOT NULL);
-- No two entries are the same: looking for such each time a page is full is in vain.
ALTER INDEX background_jobs_ready SET (deduplicate_items = off);

-- When the oldest delivery came that may still wait for a worker: of an earlier one no job waits. NULL: no job waits at all. It looks past
-- row-level security, else a trainer's question would be put to every job of the queue; it says nothing of whose job it is.
CREATE FUNCTION app.oldest_waiting() RETURNS timestamptz LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT app.received_at(id) FROM public.background_jobs WHERE failed_at IS NULL ORDER BY id LIMIT 1
$$;
REVOKE ALL ON FUNCTION app.oldest_waiting() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.oldest_waiting() TO authenticated, service_role;
