-- Values read with a score ready (hits) and without one (misses), of all processes: the hit rate on the dashboard. No person.
CREATE TABLE cache_reads (
  day    date PRIMARY KEY,
  hits   bigint NOT NULL DEFAULT 0,
  misses bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
