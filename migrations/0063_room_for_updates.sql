-- A running day is delivered again and again: its record, its values and their scores are updated in place of being added.
-- With room left in each page the new row stands beside the old one and no index is touched (a HOT update).
ALTER TABLE records SET (fillfactor = 85);
ALTER TABLE unified_metrics SET (fillfactor = 85);
ALTER TABLE metric_confidence_cache SET (fillfactor = 85);
ALTER TABLE score_advice SET (fillfactor = 80);
ALTER TABLE connections SET (fillfactor = 70);
-- The list of people counts in its indexes alone, as long as the table was vacuumed since it was made anew.
ALTER TABLE roster SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);
