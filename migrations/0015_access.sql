-- How long things are kept is one row of `settings`: key 'retention', an object of days (store/retention.rs names
-- its fields). A value of another shape would stop the job that removes what is too old.
ALTER TABLE settings ADD CONSTRAINT settings_retention_is_an_object CHECK (key <> 'retention' OR jsonb_typeof(value) = 'object');
-- The audit page narrows by action.
CREATE INDEX audit_log_action ON audit_log (action text_pattern_ops, at DESC);
-- Sessions that ended are deleted daily.
CREATE INDEX login_sessions_idle ON login_sessions (idle_until);
