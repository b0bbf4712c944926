-- What a registry tried beside would change: worked out once, when the last person is scored, and read by the page.
ALTER TABLE operations ADD COLUMN difference jsonb;
