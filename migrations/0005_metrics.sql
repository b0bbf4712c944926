-- From deliveries to numbers: what each record said (records), the day's value (unified_metrics), and how
-- far it can be trusted (metric_confidence_cache). All of it can be rebuilt from terra_webhooks_raw.

-- One row for each night, nap, workout, weighing or day summary, as its latest delivery left it.
CREATE TABLE records (
  user_id          text NOT NULL,
  source           text NOT NULL,         -- provider in lower case
  model            text NOT NULL CHECK (model IN ('activity', 'body', 'daily', 'sleep', 'nutrition', 'menstruation', 'athlete')),
  key              text NOT NULL,         -- summary_id; else start/end; a day's date for day summaries
  measurement_date date NOT NULL,
  start_at         timestamptz,
  end_at           timestamptz,
  nap              boolean NOT NULL DEFAULT false,
  deleted          boolean NOT NULL DEFAULT false, -- a tombstone: an older delivery must not bring it back
  ordering_ms      bigint NOT NULL,
  trace_id         text NOT NULL,
  received_at      timestamptz NOT NULL,
  delivery_id      uuid NOT NULL,
  "values"         jsonb NOT NULL DEFAULT '{}',    -- metric: value, or an object where another delivery said it or it has findings
  origin           jsonb NOT NULL DEFAULT '{}',    -- device (and which delivery named it), upload kind, flags
  coverage         jsonb NOT NULL DEFAULT '{}',    -- what the payload says of how much was seen
  findings         jsonb NOT NULL DEFAULT '[]',
  deleted_ordering_ms bigint,             -- the latest deletion: what was said before it stays gone, even
  deleted_trace_id text,                  -- when the record came back
  PRIMARY KEY (user_id, source, model, key)
);
CREATE INDEX records_day ON records (user_id, source, measurement_date);

-- One value a person, metric, source and day.
CREATE TABLE unified_metrics (
  user_id          text NOT NULL,
  metric_name      text NOT NULL,
  source           text NOT NULL CHECK (source = lower(source)),
  measurement_date date NOT NULL,
  value            double precision NOT NULL,
  unit             text NOT NULL,
  measured_at      timestamptz,           -- when the measuring ended, where the payload says so
  ordering_ms      bigint NOT NULL,
  trace_id         text NOT NULL,
  received_at      timestamptz NOT NULL,
  delivery_id      uuid NOT NULL,
  provenance       jsonb NOT NULL DEFAULT '{}',
  coverage         jsonb NOT NULL DEFAULT '{}',
  findings         jsonb NOT NULL DEFAULT '[]',
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, metric_name, source, measurement_date)
);
CREATE INDEX unified_metrics_day ON unified_metrics (user_id, measurement_date);

CREATE TABLE metric_confidence_cache (
  user_id          text NOT NULL,
  metric_name      text NOT NULL,
  source           text NOT NULL,
  measurement_date date NOT NULL,
  confidence_score integer NOT NULL CHECK (confidence_score BETWEEN 0 AND 100),
  probability      double precision NOT NULL, -- P(|reported - true| <= tolerance), before rounding
  low              double precision NOT NULL, -- 10th percentile of that probability
  high             double precision NOT NULL, -- 90th
  factors          jsonb NOT NULL,            -- log-odds by part
  findings         jsonb NOT NULL DEFAULT '[]',
  scorer_version   integer NOT NULL,
  registry_version integer NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, metric_name, source, measurement_date)
);
CREATE INDEX metric_confidence_cache_person_day ON metric_confidence_cache (user_id, measurement_date);
CREATE INDEX metric_confidence_cache_day ON metric_confidence_cache (measurement_date, metric_name);

-- Whose word decides on a doubted value: only a person's, and it is recorded.
CREATE TABLE finding_reviews (
  user_id          text NOT NULL,
  metric_name      text NOT NULL,
  source           text NOT NULL,
  measurement_date date NOT NULL,
  verdict          text NOT NULL CHECK (verdict IN ('confirmed', 'dismissed')),
  note             text NOT NULL DEFAULT '',
  reviewed_by      uuid REFERENCES accounts ON DELETE SET NULL,
  reviewed_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, metric_name, source, measurement_date)
);

-- Which source a person's metric is taken from, where somebody chose; else the evidence decides.
CREATE TABLE source_choices (
  user_id     text NOT NULL,
  metric_name text NOT NULL,
  source      text NOT NULL,
  chosen_by   uuid REFERENCES accounts ON DELETE SET NULL,
  chosen_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, metric_name)
);

-- Evidence rank of a source for a metric, 1 best; filled from the registry at start.
CREATE TABLE source_ranks (
  metric_name text NOT NULL,
  source      text NOT NULL,
  rank        integer NOT NULL,
  PRIMARY KEY (metric_name, source)
);
