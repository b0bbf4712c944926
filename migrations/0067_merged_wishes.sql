-- Many wishes of one key folded into one, oldest first: as app.merge_payload does with two. The first state is earlier
-- than none, so that it changes nothing.
CREATE AGGREGATE app.merge_payloads(jsonb) (SFUNC = app.merge_payload, STYPE = jsonb, INITCOND = '{"since": "9999-12-31"}', PARALLEL = SAFE);
GRANT EXECUTE ON FUNCTION app.merge_payloads(jsonb) TO service_role;
