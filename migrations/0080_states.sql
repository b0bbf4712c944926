-- PostgreSQL reads a table's CHECK anew from its text with every statement that inserts: as much work as a whole delivery more.
-- The same conditions as domains are read once a connection. The columns are not written anew and not read: their rows obeyed
-- the conditions until now.
DROP VIEW IF EXISTS job_processing_stats, webhook_processing_stats;
DROP TRIGGER IF EXISTS on_max_retries_exceeded ON background_jobs;

CREATE DOMAIN app.delivery_status AS text;
ALTER TABLE terra_webhooks_raw ALTER COLUMN status TYPE app.delivery_status;
ALTER DOMAIN app.delivery_status ADD CHECK (VALUE IN ('pending', 'processing', 'completed', 'failed', 'parked', 'ignored', 'conflict', 'invalid')) NOT VALID;
ALTER TABLE terra_webhooks_raw DROP CONSTRAINT terra_webhooks_raw_status_check;

CREATE DOMAIN app.job_status AS text;
CREATE DOMAIN app.job_priority AS smallint; -- 0 first, 9 last
CREATE DOMAIN app.job_attempts AS integer;
ALTER TABLE background_jobs ALTER COLUMN status TYPE app.job_status, ALTER COLUMN priority TYPE app.job_priority, ALTER COLUMN max_attempts TYPE app.job_attempts;
ALTER DOMAIN app.job_status ADD CHECK (VALUE IN ('pending', 'processing', 'failed', 'completed', 'cancelled')) NOT VALID;
ALTER DOMAIN app.job_priority ADD CHECK (VALUE BETWEEN 0 AND 9) NOT VALID;
ALTER DOMAIN app.job_attempts ADD CHECK (VALUE > 0) NOT VALID;
ALTER TABLE background_jobs DROP CONSTRAINT background_jobs_status_check, DROP CONSTRAINT background_jobs_priority_check, DROP CONSTRAINT background_jobs_max_attempts_check;
