-- Running the thing: logs, settings, health history.
CREATE TABLE edge_function_logs (
  id            uuid NOT NULL DEFAULT app.uuid_v7(),
  timestamp     timestamptz NOT NULL DEFAULT now(),
  level         text NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
  function_name text NOT NULL,
  message       text NOT NULL,
  metadata      jsonb NOT NULL DEFAULT '{}',
  request_id    text,
  user_id       text,
  duration_ms   integer,
  PRIMARY KEY (id)
);
CREATE INDEX edge_function_logs_time ON edge_function_logs (timestamp DESC);
CREATE INDEX edge_function_logs_user ON edge_function_logs (user_id, timestamp DESC) WHERE user_id IS NOT NULL;

-- Log lines a day, function and level: the aggregation that outlives the lines.
CREATE TABLE log_rollups (
  date          date NOT NULL,
  function_name text NOT NULL,
  level         text NOT NULL,
  count         bigint NOT NULL,
  avg_duration_ms double precision,
  max_duration_ms integer,
  PRIMARY KEY (date, function_name, level)
);

-- What an administrator changed from the defaults.
CREATE TABLE settings (
  key        text PRIMARY KEY,
  value      jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by uuid REFERENCES accounts ON DELETE SET NULL
);

-- The health snapshot the leader writes, and its history for the status page.
CREATE TABLE health_snapshots (
  at     timestamptz PRIMARY KEY DEFAULT now(),
  status text NOT NULL CHECK (status IN ('healthy', 'degraded', 'unhealthy')),
  checks jsonb NOT NULL
);
