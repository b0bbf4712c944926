-- Which jobs of a batch are still the caller's, locked until the transaction ends. A function of its own for its two
-- settings: a plan that was made while the queue was empty would read the whole of it once it is full.
CREATE FUNCTION app.lock_jobs(ids uuid[], batch bigint) RETURNS SETOF uuid LANGUAGE plpgsql
  SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY SELECT j.id FROM public.background_jobs j
    WHERE j.id = ANY (ids) AND j.epoch = batch AND j.status = 'processing' AND NOT j.cancel_requested ORDER BY j.id FOR UPDATE;
END $$;
GRANT EXECUTE ON FUNCTION app.lock_jobs(uuid[], bigint) TO service_role;
