-- Errors and warnings are few among many lines, and they are what is looked for: found and counted without walking the rest.
CREATE INDEX edge_function_logs_trouble ON edge_function_logs (level, timestamp DESC, id DESC) WHERE level IN ('error', 'warn');
