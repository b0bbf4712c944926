-- A finished job rarely had an error: who looks for one reads those few, not the newest of all.
CREATE INDEX job_history_errors ON job_history (completed_at DESC, id DESC) WHERE error IS NOT NULL;
