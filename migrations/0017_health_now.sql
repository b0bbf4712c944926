-- The one health snapshot that all nodes read. Whoever holds the turn measures; a turn that is not renewed within its few
-- seconds goes to the next node that looks. Unlogged: after a crash of the server the next look makes it anew.
CREATE UNLOGGED TABLE health_now (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  holder   uuid NOT NULL,                 -- the process whose turn it is
  until    timestamptz NOT NULL,          -- the end of its turn
  taken_at timestamptz,                   -- when the figures were measured; NULL: not yet
  figures  jsonb
) WITH (fillfactor = 10);

-- All lines of one request, from the edge to the job.
CREATE INDEX edge_function_logs_request ON edge_function_logs (request_id) WHERE request_id IS NOT NULL;
