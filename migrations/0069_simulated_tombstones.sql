-- A simulated person who is erased stays erased while the feed that makes them goes on, and comes back when somebody starts one anew.
-- `simulated_as`: the hash of that person, on their own tombstone and on those of their connections; of real persons nothing is linked.
ALTER TABLE tombstones ADD COLUMN simulated_as bytea;
CREATE INDEX tombstones_simulated ON tombstones (simulated_as) WHERE simulated_as IS NOT NULL;
