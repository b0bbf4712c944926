-- In which order the list of clients stands, so that a page of it reads that page and not everybody. One row a person as a
-- whole (metric_name = ''), and one for each metric of which the person has a value. Made by the leader from what is
-- stored elsewhere; the figures on the page are read anew, so this may lag without showing a wrong number.
CREATE TABLE roster (
  user_id      text NOT NULL,
  metric_name  text NOT NULL DEFAULT '',
  score        double precision,            -- of the newest value, or the average of seven days; NULL: unknown
  tiers        smallint NOT NULL DEFAULT 0, -- badges among these: 1 excellent, 2 good, 4 fair, 8 poor
  gain         integer NOT NULL DEFAULT 0,  -- most points that advice would bring
  day          date,                        -- of the newest value
  -- Of the person as a whole only:
  last_data_at timestamptz,                 -- newest data of any connection
  quiet_at     timestamptz,                 -- since when the longest silent of the intact connections brought nothing
  broken       boolean NOT NULL DEFAULT false,
  PRIMARY KEY (metric_name, user_id)
) WITH (fillfactor = 80);
-- What is filtered by lies in the index too, so that looking past those who do not fit costs little.
CREATE INDEX roster_trust ON roster (metric_name, score, user_id) INCLUDE (tiers, day, quiet_at, broken);
CREATE INDEX roster_gain ON roster (metric_name, gain DESC, score, user_id);
CREATE INDEX roster_age ON roster (last_data_at NULLS FIRST, user_id) WHERE metric_name = '';
CREATE INDEX roster_day ON roster (metric_name, day);
CREATE INDEX roster_quiet ON roster (quiet_at) WHERE metric_name = '';
CREATE INDEX roster_broken ON roster (score, user_id) WHERE metric_name = '' AND broken;
CREATE INDEX roster_person ON roster (user_id);
CREATE INDEX persons_name ON persons (lower(coalesce(label, user_id)), user_id);

-- Whoever is new stands in the list at once, not with the next adding up.
CREATE FUNCTION app.persons_in_roster() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.roster (user_id) SELECT user_id FROM new_persons ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION app.persons_in_roster() FROM PUBLIC;
CREATE TRIGGER persons_in_roster AFTER INSERT ON persons REFERENCING NEW TABLE AS new_persons
  FOR EACH STATEMENT EXECUTE FUNCTION app.persons_in_roster();
INSERT INTO roster (user_id) SELECT user_id FROM persons ON CONFLICT DO NOTHING;
