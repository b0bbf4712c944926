-- Few connections ever had another id: only these are looked through for one, and a new connection costs no entry.
DROP INDEX connections_former;
CREATE INDEX connections_former ON connections USING gin (former_ids) WHERE former_ids <> '{}';
