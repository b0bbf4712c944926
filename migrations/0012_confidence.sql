-- Scores under another scorer or registry, beside those in force, until somebody promotes or drops them.
CREATE TABLE confidence_shadow (
  LIKE metric_confidence_cache INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
  PRIMARY KEY (user_id, metric_name, source, measurement_date)
);
CREATE UNIQUE INDEX operations_one_shadow ON operations (kind) WHERE state = 'running' AND kind = 'shadow';

-- What a 90 was worth, each time it was worked out anew.
CREATE TABLE calibration_reports (
  id               uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  created_at       timestamptz NOT NULL DEFAULT now(),
  made_by          text NOT NULL,
  scorer_version   integer NOT NULL,
  registry_version integer NOT NULL,
  report           jsonb NOT NULL
);
CREATE INDEX calibration_reports_time ON calibration_reports (created_at DESC);
