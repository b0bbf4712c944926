-- The queue. background_jobs is the hot part: pending, processing and failed jobs only. A finished job
-- moves to job_history in the statement that finishes it, so the hot part stays small.
--
-- A claim changes no indexed column, and half of each page is left free, so a claim is written beside the old
-- row in the same page (a HOT update) and touches no index. This is why nothing here is indexed by `status`,
-- why a failed job carries `failed_at`, and why the key of a pending job lies in `pending_key`.
CREATE TABLE background_jobs (
  id            uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  type          text NOT NULL,
  status        text NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'processing', 'failed', 'completed', 'cancelled')),
  priority      smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9), -- 0 first, 9 last
  payload       jsonb NOT NULL DEFAULT '{}',
  result        jsonb,
  error         text,
  attempts      integer NOT NULL DEFAULT 0,
  max_attempts  integer NOT NULL DEFAULT 5 CHECK (max_attempts > 0),
  scheduled_at  timestamptz NOT NULL DEFAULT now(),
  created_at    timestamptz NOT NULL DEFAULT now(),
  started_at    timestamptz,
  completed_at  timestamptz,
  failed_at     timestamptz,                   -- set while status is 'failed'
  epoch         bigint NOT NULL DEFAULT 0,     -- fencing token: another one with each claim; a stale worker holds an old one
  worker_id     uuid,                          -- who holds it; its lease lies in job_leases
  unique_key    text,                          -- at most one pending job a key; a second one is merged into it
  pending_key   text,                          -- unique_key while the job is pending, else NULL
  user_id       text,                          -- whose data it works on; NULL: nobody's in particular
  cancel_requested boolean NOT NULL DEFAULT false,
  errors        jsonb NOT NULL DEFAULT '[]'    -- [{attempt, at, error, class}], newest last, at most 20
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.2,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX background_jobs_ready ON background_jobs (type, priority, scheduled_at, id) WHERE failed_at IS NULL;
CREATE INDEX background_jobs_failed ON background_jobs (failed_at DESC) WHERE failed_at IS NOT NULL;
CREATE UNIQUE INDEX background_jobs_pending_key ON background_jobs (pending_key) WHERE pending_key IS NOT NULL;
CREATE INDEX background_jobs_user ON background_jobs (user_id, created_at DESC) WHERE user_id IS NOT NULL;

-- One row a claimed batch: who holds which jobs until when. A heartbeat renews a worker's few rows here and
-- touches no job. Rescue reads the ids from here and needs no index on the hot part.
CREATE TABLE job_leases (
  epoch       bigint PRIMARY KEY,              -- the token of the batch
  worker_id   uuid NOT NULL,
  type        text NOT NULL,
  lease_until timestamptz NOT NULL,
  ids         uuid[] NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE job_leases ALTER COLUMN ids SET STORAGE EXTERNAL; -- random bits do not compress

-- What an operator or a kind sets for a whole kind, for all nodes together. No row: no limit.
CREATE TABLE job_kinds (
  type        text PRIMARY KEY,
  paused      boolean NOT NULL DEFAULT false,
  max_running integer CHECK (max_running > 0), -- jobs in processing at the same time
  per_minute  integer CHECK (per_minute > 0),  -- jobs started in a minute
  next_start  timestamptz NOT NULL DEFAULT '-infinity' -- when the rate allows the next one (GCRA)
);

-- Completed and cancelled jobs, a partition a day, dropped by retention.
CREATE TABLE job_history (
  id           uuid NOT NULL,
  type         text NOT NULL,
  status       text NOT NULL CHECK (status IN ('completed', 'cancelled')),
  priority     smallint NOT NULL,
  payload      jsonb NOT NULL,
  result       jsonb,
  error        text,
  attempts     integer NOT NULL,
  created_at   timestamptz NOT NULL,
  scheduled_at timestamptz NOT NULL,
  started_at   timestamptz,
  completed_at timestamptz NOT NULL DEFAULT now(),
  user_id      text,
  errors       jsonb NOT NULL DEFAULT '[]'
) PARTITION BY RANGE (completed_at);
CREATE TABLE job_history_default PARTITION OF job_history DEFAULT;
-- Ids (version 7) and times both grow as rows are appended: a block range says enough, and costs nothing to keep.
CREATE INDEX job_history_id ON job_history USING brin (id) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX job_history_completed ON job_history (completed_at DESC);
CREATE INDEX job_history_user ON job_history (user_id, completed_at DESC) WHERE user_id IS NOT NULL;

CREATE FUNCTION app.make_job_history_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text := 'job_history_' || to_char(day, 'YYYYMMDD');
BEGIN
  IF to_regclass('public.' || name) IS NULL THEN
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.job_history FOR VALUES FROM (%L) TO (%L)',
      name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  END IF;
EXCEPTION WHEN duplicate_table OR check_violation THEN NULL; -- a concurrent maker won, or the day's rows lie in the default partition already
END $$;
SELECT app.make_job_history_partition(current_date + n) FROM generate_series(0, 7) AS n;

-- Drops the partitions of days before the given one, takes their rows out of the counts, and returns how many rows went.
CREATE FUNCTION app.drop_job_history_before(day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  part name;
  gone bigint := 0;
  n    bigint;
BEGIN
  FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'public.job_history'::regclass AND c.relname ~ '^job_history_[0-9]{8}$'
                 AND to_date(right(c.relname, 8), 'YYYYMMDD') < day ORDER BY 1 LOOP
    EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', part);
    EXECUTE format('INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, -count(*) FROM public.%I GROUP BY 1, 2', part);
    EXECUTE format('SELECT count(*) FROM public.%I', part) INTO n;
    EXECUTE format('DROP TABLE public.%I', part);
    gone := gone + n;
  END LOOP;
  WITH old AS (DELETE FROM public.job_history_default WHERE completed_at < day RETURNING type, status),
       counted AS (INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, -count(*) FROM old GROUP BY 1, 2)
  SELECT count(*) INTO n FROM old;
  RETURN gone + n;
END $$;

-- Reads a payload's field without failing on what people wrote into it.
CREATE FUNCTION app.as_uuid(value text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN value::uuid; EXCEPTION WHEN others THEN RETURN NULL; END $$;
CREATE FUNCTION app.as_timestamptz(value text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN value::timestamptz; EXCEPTION WHEN others THEN RETURN NULL; END $$;
GRANT EXECUTE ON FUNCTION app.as_uuid(text), app.as_timestamptz(text) TO service_role;

-- How many jobs of a kind are in a state: every statement that moves jobs appends what it moved here, and
-- one leader folds it, so that no page and no probe ever counts rows. Finished jobs carry their durations
-- and the day they were created, which is what job_processing_stats shows.
CREATE TABLE job_count_deltas (
  id     bigint GENERATED ALWAYS AS IDENTITY,
  type   text NOT NULL,
  status text NOT NULL,
  delta  bigint NOT NULL,
  day         date,                            -- of creation, in UTC; only where jobs were finished
  seconds     double precision,                -- sum of their durations
  max_seconds double precision,
  at     timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE job_counts (
  type   text NOT NULL,
  status text NOT NULL,
  count  bigint NOT NULL,
  PRIMARY KEY (type, status)
) WITH (fillfactor = 50);
CREATE TABLE job_days (
  day         date NOT NULL,
  type        text NOT NULL,
  status      text NOT NULL,
  count       bigint NOT NULL,
  seconds     double precision NOT NULL,
  max_seconds double precision NOT NULL,
  PRIMARY KEY (day, type, status)
) WITH (fillfactor = 50);

-- Whoever inserts jobs, by whatever SQL: they are counted, and the workers hear of them, once a statement.
CREATE FUNCTION app.jobs_enqueued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.job_count_deltas (type, status, delta) SELECT type, status, count(*) FROM inserted GROUP BY type, status;
  -- A NOTIFY lets only one transaction of the database commit at a time: who inserts by the thousand says that it
  -- will notify after its commit instead.
  IF current_setting('assay.notify_later', true) IS DISTINCT FROM 'on' THEN
    PERFORM pg_notify('assay_jobs', type) FROM (SELECT DISTINCT type FROM inserted WHERE scheduled_at <= now() + interval '1 second') t;
  END IF;
  RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION app.jobs_enqueued() TO service_role;
CREATE TRIGGER jobs_enqueued AFTER INSERT ON background_jobs REFERENCING NEW TABLE AS inserted
  FOR EACH STATEMENT EXECUTE FUNCTION app.jobs_enqueued();

-- Two wishes under one key become one: the newer payload wins, but work `since` a date begins at the earlier
-- of the two, and a wish without `since` means everything.
CREATE FUNCTION app.merge_payload(old jsonb, new jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN old ->> 'since' IS NOT NULL AND new ->> 'since' IS NOT NULL
      THEN (old || new) || jsonb_build_object('since', least(old ->> 'since', new ->> 'since'))
    ELSE (old || new) - 'since' END
$$;
GRANT EXECUTE ON FUNCTION app.merge_payload(jsonb, jsonb) TO service_role;

-- A worker process: alive while its database session holds the advisory lock of `lock_key`.
CREATE TABLE workers (
  id         uuid PRIMARY KEY,
  lock_key   bigint NOT NULL,
  node       text NOT NULL,
  role       text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now(),
  detail     jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- Whether a worker's session is there, as the server itself sees it.
CREATE FUNCTION app.worker_is_present(key bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT 1 FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = ((key >> 32) & 4294967295)::oid AND l.objid = (key & 4294967295)::oid)
$$;
GRANT EXECUTE ON FUNCTION app.worker_is_present(bigint) TO service_role;

-- Who leads (runs schedules, folds counts, rescues): one row a duty, held for a term.
CREATE TABLE leases (
  name       text PRIMARY KEY,
  holder     uuid NOT NULL,
  term       bigint NOT NULL DEFAULT 1,
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE schedules (
  name        text PRIMARY KEY,
  job_type    text NOT NULL,
  payload     jsonb NOT NULL DEFAULT '{}',
  every_s     integer NOT NULL CHECK (every_s > 0),
  paused      boolean NOT NULL DEFAULT false,
  last_run_at timestamptz,
  last_job_id uuid,                            -- the job of the last run; its history is the run's
  next_run_at timestamptz NOT NULL DEFAULT now(),
  runs        bigint NOT NULL DEFAULT 0,
  missed      bigint NOT NULL DEFAULT 0,       -- runs that were due while nobody led; caught up by one run
  last_error  text
);

-- One durable operation over many rows: Recalculate All, a replay, a redrive.
CREATE TABLE operations (
  id           uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  kind         text NOT NULL,             -- 'recalculate_all', 'replay', 'redrive'
  state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'cancelled', 'failed')),
  filter       jsonb NOT NULL DEFAULT '{}',
  total        bigint NOT NULL DEFAULT 0,
  done         bigint NOT NULL DEFAULT 0,
  failed       bigint NOT NULL DEFAULT 0,
  chunks_total integer NOT NULL DEFAULT 0,
  chunks_done  integer NOT NULL DEFAULT 0,
  started_by   text NOT NULL,
  started_at   timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz,
  error        text
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX operations_one_recalculation ON operations (kind) WHERE state = 'running' AND kind = 'recalculate_all';
