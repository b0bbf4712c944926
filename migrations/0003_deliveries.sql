-- Every delivery as it came, and which connection it belongs to.

-- Terra's connection of a person to a provider. Terra gives a new id on re-authorisation: it is
-- swapped in place, so history stays on our row.
CREATE TABLE connections (
  id             uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  terra_user_id  text NOT NULL UNIQUE,
  user_id        text,                    -- NULL: Terra sent no reference_id yet; its deliveries are parked
  provider       text NOT NULL,           -- lower case
  state          text NOT NULL DEFAULT 'active'
                 CHECK (state IN ('active', 'revoked', 'error', 'reauthorised', 'deauthorised')),
  scopes         text,
  reason         text,                    -- why it is in this state, in Terra's words
  created_at     timestamptz NOT NULL DEFAULT now(),
  state_at       timestamptz NOT NULL DEFAULT now(),
  state_ordering_ms bigint NOT NULL DEFAULT 0, -- an older event never undoes a newer one
  last_data_at   timestamptz,
  former_ids     text[] NOT NULL DEFAULT '{}' -- Terra's ids before re-authorisations; late deliveries still carry them
);
CREATE INDEX connections_user ON connections (user_id);
CREATE INDEX connections_former ON connections USING gin (former_ids);

-- One row a delivery, exact bytes, for ever by default. Partitioned by month, so that old data can be
-- dropped instead of deleted. The time of receipt lies in the id (version 7), which finds the partition.
CREATE TABLE terra_webhooks_raw (
  id              uuid NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT now(),
  trace_id        text NOT NULL,          -- X-Terra-Trace-Id, or 'sha256:' and the body's hash
  type            text NOT NULL,
  provider        text,                   -- lower case
  user_id         text,                   -- reference_id, or the connection's; NULL: unknown yet
  terra_user_id   text,
  status          text NOT NULL DEFAULT 'pending'
                  CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'parked', 'ignored', 'conflict', 'invalid')),
  error           text,                   -- why failed, parked, ignored, conflict or invalid, for people
  ordering_ms     bigint NOT NULL,        -- X-Terra-Ordering-Timestamp; absent: time of receipt
  reference       text,                   -- Terra-reference; shared by many deliveries, never a key
  headers         jsonb NOT NULL DEFAULT '{}',
  body            bytea NOT NULL,
  processed_count integer NOT NULL DEFAULT 0, -- readings it gave
  processed_at    timestamptz,
  PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE terra_webhooks_raw_default PARTITION OF terra_webhooks_raw DEFAULT;
CREATE INDEX terra_webhooks_raw_created ON terra_webhooks_raw (created_at DESC);
CREATE INDEX terra_webhooks_raw_user ON terra_webhooks_raw (user_id, created_at DESC);
CREATE INDEX terra_webhooks_raw_unowned ON terra_webhooks_raw (terra_user_id) WHERE user_id IS NULL AND terra_user_id IS NOT NULL;
CREATE INDEX terra_webhooks_raw_unsettled ON terra_webhooks_raw (status, created_at)
  WHERE status IN ('pending', 'processing', 'failed', 'parked', 'conflict', 'invalid');

-- What makes a delivery the same delivery. Unpartitioned, because a unique index on a partitioned table
-- would have to contain its partition key. Written in the same statement as the raw row.
CREATE TABLE delivery_keys (
  trace_id   text NOT NULL,
  body_hash  bytea NOT NULL,
  raw_id     uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (trace_id)
);
CREATE INDEX delivery_keys_created ON delivery_keys USING brin (created_at);

-- The body as JSON, computed when asked for: SELECT r.payload FROM terra_webhooks_raw r. NULL when it is not JSON.
CREATE FUNCTION payload(terra_webhooks_raw) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN convert_from($1.body, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION payload(terra_webhooks_raw) TO authenticated, service_role;

-- Deliveries that were turned away, counted by minute and reason; no bodies, no persons.
CREATE TABLE refused_deliveries (
  minute  timestamptz NOT NULL,
  reason  text NOT NULL,                  -- e.g. 'signature_mismatch', 'rate_limited'
  address text NOT NULL,
  count   bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (minute, reason, address)
);
-- What the gateway answered, by minute: accepted, duplicate, conflict, refused, unavailable.
CREATE TABLE gateway_counts (
  minute  timestamptz NOT NULL,
  outcome text NOT NULL,
  node    text NOT NULL,
  count   bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (minute, outcome, node)
);

-- Makes the partition of the given month; harmless when it is there.
CREATE FUNCTION app.make_raw_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  first date := date_trunc('month', month);
  name  text := 'terra_webhooks_raw_' || to_char(first, 'YYYYMM');
BEGIN
  IF to_regclass('public.' || name) IS NULL THEN
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.terra_webhooks_raw FOR VALUES FROM (%L) TO (%L)',
      name, first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    -- A partition is reached only through its parent, whose policies hold.
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  END IF;
EXCEPTION WHEN duplicate_table THEN NULL; -- a concurrent maker won
END $$;
SELECT app.make_raw_partition((current_date + (n || ' month')::interval)::date) FROM generate_series(0, 2) AS n;
