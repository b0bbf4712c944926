-- What the list of deliveries says of each: with which key it was signed, and how much was suspicious when it was read.
-- Both are written with the row's other facts, so that no page verifies or counts anything.
ALTER TABLE terra_webhooks_raw
  ADD COLUMN signed_by text,                          -- the signing key's fingerprint; NULL: fetched over a signed link, or older than this column
  ADD COLUMN findings  integer NOT NULL DEFAULT 0;    -- findings about it and its records when it was last processed

COMMENT ON COLUMN roster.tiers IS 'badges among these: 1 excellent, 2 good, 4 fair, 8 poor; 16 a newest value without a score';
