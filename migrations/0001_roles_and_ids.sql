-- Roles the row-level security speaks of, and the two helpers every table uses.
-- Roles belong to the whole cluster, so another database may have made them, or be making them now.
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = r) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', r);
      END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- a concurrent creator won
    END;
  END LOOP;
END $$;

-- Nothing is open by default: each table says who may do what.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Functions that are ours and not for the checklist to call.
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO anon, authenticated, service_role;

-- A version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, then randomness, so row ids sort by time.
CREATE FUNCTION app.uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid
$$;
GRANT EXECUTE ON FUNCTION app.uuid_v7() TO anon, authenticated, service_role;
