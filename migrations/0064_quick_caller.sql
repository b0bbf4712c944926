-- Every statement as a caller asks who that is, once for each table it reads. A function in SQL is planned anew each time it is
-- asked, which took most of a millisecond; in PL/pgSQL the plan is made once a connection. Same questions, same answers.
CREATE OR REPLACE FUNCTION app.caller() RETURNS TABLE (account_id uuid, role text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  hash bytea := sha256(convert_to(coalesce(current_setting('assay.token', true), ''), 'UTF8'));
BEGIN
  RETURN QUERY
    SELECT a.id, a.role FROM public.login_sessions s JOIN public.accounts a ON a.id = s.account_id
     WHERE s.token_hash = hash AND s.expires_at > now() AND s.idle_until > now() AND a.disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN QUERY
      SELECT a.id, a.role FROM public.api_keys k JOIN public.accounts a ON a.id = k.account_id
       WHERE k.token_hash = hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND a.disabled_at IS NULL;
  END IF;
END $$;
CREATE OR REPLACE FUNCTION app.caller_role() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT c.role FROM app.caller() c); END $$;
CREATE OR REPLACE FUNCTION app.caller_id() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT c.account_id FROM app.caller() c); END $$;
CREATE OR REPLACE FUNCTION app.caller_clients() RETURNS SETOF text
  LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT tc.user_id FROM public.trainer_clients tc JOIN app.caller() c ON c.account_id = tc.trainer_id WHERE c.role = 'trainer';
END $$;
