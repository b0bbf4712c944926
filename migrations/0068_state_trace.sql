-- Two events of a connection may carry the same millisecond. Then the trace id says which of them is the newer, also when they
-- come in two batches.
ALTER TABLE connections ADD COLUMN state_trace_id text NOT NULL DEFAULT '';
