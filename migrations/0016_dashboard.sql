-- What the dashboard says of millions of readings, added up beforehand by the leader, so that no page ever reads them.
-- All of it can be made again from unified_metrics and metric_confidence_cache at any time.

-- The readings of a measured day and metric by tier.
CREATE TABLE score_days (
  measurement_date date NOT NULL,
  metric_name      text NOT NULL,
  points           bigint NOT NULL,  -- sum of the scores
  excellent        bigint NOT NULL,
  good             bigint NOT NULL,
  fair             bigint NOT NULL,
  poor             bigint NOT NULL,
  unknown          bigint NOT NULL,  -- values without a score
  stale            bigint NOT NULL,  -- values newer than their score
  newest           timestamptz,      -- when a score of them was last written
  PRIMARY KEY (measurement_date, metric_name)
) WITH (fillfactor = 70);

-- Each person's last seven days of data: old is not wrong, its age is shown beside it.
CREATE TABLE person_scores (
  user_id   text PRIMARY KEY,
  newest    date NOT NULL,          -- the newest measured day
  average   double precision NOT NULL,
  excellent bigint NOT NULL,
  good      bigint NOT NULL,
  fair      bigint NOT NULL,
  poor      bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX person_scores_average ON person_scores (average, user_id);

-- The connections of each provider.
CREATE TABLE provider_states (
  provider     text PRIMARY KEY,
  active       bigint NOT NULL,
  broken       bigint NOT NULL,      -- in an error or revoked
  silent       bigint NOT NULL,      -- working, but without data for two days
  last_data_at timestamptz
) WITH (fillfactor = 70);

-- Readings come in by and large in the order of their days: block ranges say enough, and cost nothing to keep.
CREATE INDEX unified_metrics_by_day ON unified_metrics USING brin (measurement_date) WITH (pages_per_range = 32, autosummarize = on);

-- The status page asks for what was not well in months of health checks.
CREATE INDEX health_snapshots_not_well ON health_snapshots (at) WHERE status <> 'healthy';

-- When each was last added up, how long that took, and how many rows had ever been written by then: without new ones
-- there is nothing to add up.
CREATE TABLE rollups (
  name     text PRIMARY KEY,
  taken_at timestamptz NOT NULL,
  seconds  double precision NOT NULL,
  written  bigint NOT NULL,
  through  date NOT NULL,            -- the day it was done on: a new day moves the window
  persons  bigint NOT NULL DEFAULT 0 -- with data in the window
) WITH (fillfactor = 50);
