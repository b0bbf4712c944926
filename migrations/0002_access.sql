-- Who logs in (accounts), what proves it (sessions, keys), whom a trainer sees, and what was done by whom.
CREATE TABLE accounts (
  id            uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  email         text NOT NULL CHECK (email = lower(email) AND email LIKE '%_@_%' AND length(email) <= 254),
  display_name  text NOT NULL DEFAULT '' CHECK (length(display_name) <= 120),
  password_hash text,                     -- argon2id, PHC string; NULL until an invitation is accepted
  role          text NOT NULL CHECK (role IN ('admin', 'trainer')),
  disabled_at   timestamptz,
  totp_secret   bytea,                    -- encrypted with ASSAY_SECRET_KEY; NULL: no second factor
  totp_last_step bigint,                  -- a code is used once
  preferences   jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT accounts_email_key UNIQUE (email)
);

-- Only the SHA-256 of a session's token is stored; whoever reads this table cannot log in with it.
CREATE TABLE login_sessions (
  token_hash   bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  id           uuid NOT NULL DEFAULT app.uuid_v7() UNIQUE, -- names the session in the list without revealing the hash
  account_id   uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
  created_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  idle_until   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  address      text,
  user_agent   text
);
CREATE INDEX login_sessions_account ON login_sessions (account_id);
CREATE INDEX login_sessions_expiry ON login_sessions (expires_at);

CREATE TABLE invitations (
  token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
  created_by uuid REFERENCES accounts ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at    timestamptz
);

-- Keys for programs that read the API. `scopes` are words such as 'metrics:read'.
CREATE TABLE api_keys (
  id           uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  token_hash   bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  name         text NOT NULL,
  account_id   uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
  scopes       text[] NOT NULL DEFAULT '{}',
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz
);

-- A person whose data arrive. user_id is Terra's reference_id: any string, a pseudonym.
CREATE TABLE persons (
  user_id    text PRIMARY KEY CHECK (user_id <> '' AND length(user_id) <= 512),
  label      text,                        -- what the pages call this person; NULL: the user_id
  simulated  boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE trainer_clients (
  trainer_id  uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
  user_id     text NOT NULL,
  assigned_at timestamptz NOT NULL DEFAULT now(),
  assigned_by uuid REFERENCES accounts ON DELETE SET NULL,
  PRIMARY KEY (trainer_id, user_id)
);
CREATE INDEX trainer_clients_user ON trainer_clients (user_id);

-- Append-only: no role but the owner may change or delete a row.
CREATE TABLE audit_log (
  id         uuid PRIMARY KEY DEFAULT app.uuid_v7(),
  at         timestamptz NOT NULL DEFAULT now(),
  account_id uuid,                        -- no reference: the entry outlives the account
  actor      text NOT NULL,               -- e-mail of the account, 'system', or a key's name
  action     text NOT NULL,               -- e.g. 'login', 'jobs.retry', 'person.erase'
  subject    text,                        -- what it was done to; no identity after an erasure
  detail     jsonb NOT NULL DEFAULT '{}', -- before and after
  address    text,
  request_id text
);
CREATE INDEX audit_log_at ON audit_log (at DESC);
CREATE INDEX audit_log_subject ON audit_log (subject, at DESC);

-- The one place where a caller is proven: the token of the session or key in `assay.token` (set by the
-- server for one transaction) is looked up by its hash. A role name in a setting could be forged; a
-- token cannot be guessed. SECURITY DEFINER, because the caller may not read these tables.
CREATE FUNCTION app.caller() RETURNS TABLE (account_id uuid, role text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH t AS (SELECT sha256(convert_to(coalesce(current_setting('assay.token', true), ''), 'UTF8')) AS hash)
  SELECT a.id, a.role
    FROM t JOIN public.login_sessions s ON s.token_hash = t.hash
    JOIN public.accounts a ON a.id = s.account_id
   WHERE s.expires_at > now() AND s.idle_until > now() AND a.disabled_at IS NULL
  UNION ALL
  SELECT a.id, a.role
    FROM t JOIN public.api_keys k ON k.token_hash = t.hash
    JOIN public.accounts a ON a.id = k.account_id
   WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND a.disabled_at IS NULL
  LIMIT 1
$$;
CREATE FUNCTION app.caller_role() RETURNS text
  LANGUAGE sql STABLE AS $$ SELECT role FROM app.caller() $$;
CREATE FUNCTION app.caller_id() RETURNS uuid
  LANGUAGE sql STABLE AS $$ SELECT account_id FROM app.caller() $$;
-- The persons the caller may see as a trainer. SECURITY DEFINER for the same reason as app.caller().
CREATE FUNCTION app.caller_clients() RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT tc.user_id FROM public.trainer_clients tc JOIN app.caller() c ON c.account_id = tc.trainer_id
   WHERE c.role = 'trainer'
$$;
GRANT EXECUTE ON FUNCTION app.caller(), app.caller_role(), app.caller_id(), app.caller_clients()
  TO anon, authenticated, service_role;
