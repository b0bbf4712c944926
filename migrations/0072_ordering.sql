-- A day value's place in the order of deliveries, under the name that others read: SELECT … ordering FROM unified_metrics.
-- It is ordering_ms itself, so the two cannot differ. Stored, because only PostgreSQL 18 and newer compute such a column when it
-- is read, and the schema is one on all versions: the table is written anew once.
ALTER TABLE unified_metrics ADD COLUMN ordering bigint GENERATED ALWAYS AS (ordering_ms) STORED;
