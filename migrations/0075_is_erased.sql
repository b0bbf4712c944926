-- Whether somebody was erased and did not come back: what is still written about them goes without their name. Costs one look
-- into an empty table where nobody was ever erased.
CREATE FUNCTION app.is_erased(person text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN person IS NOT NULL AND EXISTS (SELECT FROM public.tombstones)
     AND NOT EXISTS (SELECT FROM public.persons p WHERE p.user_id = person)
     AND EXISTS (SELECT FROM public.tombstones t WHERE t.hash = app.tombstone('person', person));
END $$;
GRANT EXECUTE ON FUNCTION app.is_erased(text) TO service_role;
