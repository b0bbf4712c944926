-- Ascending, as the rows come: a new entry goes to the right end of the index, which PostgreSQL keeps at hand and fills whole.
-- Descending, each went to the left end, where pages are split in halves. Read backwards it gives the same order. While they are
-- built, some tenths of a second a million rows, deliveries and finished jobs wait.
CREATE INDEX terra_webhooks_raw_received ON terra_webhooks_raw (created_at);
DROP INDEX terra_webhooks_raw_created;
CREATE INDEX job_history_finished ON job_history (completed_at);
DROP INDEX job_history_completed;
-- Of a person's jobs the new ones come last, too.
DROP INDEX background_jobs_user;
CREATE INDEX background_jobs_user ON background_jobs (user_id, created_at) WHERE user_id IS NOT NULL;
