-- Raw deliveries over the years: partitions are made ahead and beside rows that the default partition took meanwhile,
-- old ones are dropped, and who was erased stays erased.

-- Makes the partition of the given month; harmless when it is there. It is filled and then attached: attaching lets
-- deliveries be stored meanwhile, and rows of that month in the default partition would forbid making it in place.
CREATE OR REPLACE FUNCTION app.make_raw_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  first  date := date_trunc('month', month);
  name   text := 'terra_webhooks_raw_' || to_char(first, 'YYYYMM');
  starts timestamptz := first::timestamp AT TIME ZONE 'UTC';
  ends   timestamptz := (first + interval '1 month')::timestamp AT TIME ZONE 'UTC';
BEGIN
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('assay.raw_partitions'));
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF; -- a concurrent maker won
  EXECUTE format('CREATE TABLE public.%I (LIKE public.terra_webhooks_raw INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  -- A partition is reached only through its parent, whose policies hold.
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, anon, authenticated, service_role', name);
  IF EXISTS (SELECT FROM public.terra_webhooks_raw_default d WHERE d.created_at >= starts AND d.created_at < ends) THEN
    LOCK TABLE public.terra_webhooks_raw_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH moved AS (DELETE FROM public.terra_webhooks_raw_default WHERE created_at >= $1 AND created_at < $2 RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', name) USING starts, ends;
  END IF;
  EXECUTE format('ALTER TABLE public.terra_webhooks_raw ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
END $$;

-- Drops the partitions that end at or before the given day and hold no delivery that still waits; returns how many
-- deliveries went with them. Waits for nobody longer than its caller's lock_timeout.
CREATE FUNCTION app.drop_raw_before(day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  part record;
  busy boolean;
  n bigint;
  total bigint := 0;
BEGIN
  FOR part IN
    SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'public.terra_webhooks_raw'::regclass AND c.relname ~ '^terra_webhooks_raw_[0-9]{6}$'
       AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= day
     ORDER BY c.relname
  LOOP
    EXECUTE format('SELECT count(*), coalesce(bool_or(status IN (''pending'', ''processing'')), false) FROM public.%I', part.name) INTO n, busy;
    CONTINUE WHEN busy;
    EXECUTE format('DROP TABLE public.%I', part.name);
    total := total + n;
  END LOOP;
  RETURN total;
END $$;
REVOKE ALL ON FUNCTION app.drop_raw_before(date) FROM PUBLIC;

-- Persons and connections that were erased, as keyed hashes: Terra goes on sending for a while (the news of the end
-- itself, late data), and that must not make the person anew. Nothing here names anybody; whoever has both tables and
-- guesses an id can test the guess.
CREATE TABLE tombstones (
  hash      bytea PRIMARY KEY CHECK (length(hash) = 32),
  erased_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE tombstone_key (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  key      bytea NOT NULL
);
INSERT INTO tombstone_key (key) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- The hash of an id; `kind` is 'person' or 'connection'.
CREATE FUNCTION app.tombstone(kind text, id text) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(k.key || sha256(k.key || convert_to(kind || ':' || id, 'UTF8'))) FROM public.tombstone_key k
$$;
GRANT EXECUTE ON FUNCTION app.tombstone(text, text) TO service_role;
