-- What the list of people is searched in, made ready once instead of for everybody with each search.
ALTER TABLE persons ADD COLUMN sought text GENERATED ALWAYS AS (lower(coalesce(label, '') || ' ' || user_id)) STORED;
