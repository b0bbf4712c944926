-- Real persons whose id looks like an e-mail address: the dashboard warns of them, and finds them without reading everybody.
-- The form is that of model/email.rs.
CREATE INDEX persons_email ON persons (user_id) WHERE NOT simulated AND user_id ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:].]+$';
