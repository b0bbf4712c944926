-- What an index costs each delivery is much: two of five entries of its row, and the one of its key's time, are gone.
--
-- The moment of receipt lies in the id (version 7, whole milliseconds) and is `created_at`: with the moment first, the primary
-- key is the index on the time of receipt as well, and an id alone still finds its row by way of `app.received_at`.
CREATE FUNCTION app.received_at(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT to_timestamp(('x' || lpad(replace(left(id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint / 1000.0)
$$;
GRANT EXECUTE ON FUNCTION app.received_at(uuid) TO authenticated, service_role;
ALTER TABLE terra_webhooks_raw DROP CONSTRAINT terra_webhooks_raw_pkey, ADD PRIMARY KEY (created_at, id);
DROP INDEX terra_webhooks_raw_received;
-- What waits has a job, and jobs are counted: the index is for what is not settled well, which is little.
CREATE INDEX terra_webhooks_raw_unwell ON terra_webhooks_raw (status, created_at) WHERE status IN ('failed', 'parked', 'conflict', 'invalid');
DROP INDEX terra_webhooks_raw_unsettled;
-- Keys are forgotten by reading them once a day from the beginning to the end.
DROP INDEX delivery_keys_created;
