-- Retention of deliveries of no use takes some thousands at a time: each statement finds them without reading all others.
CREATE INDEX terra_webhooks_raw_useless ON terra_webhooks_raw (created_at) WHERE status IN ('ignored', 'conflict', 'invalid');
