-- Journals of calls that have not ended: those that an engine finds when it starts were broken off.
ALTER TABLE journals ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
CREATE INDEX journals_open ON journals (id) WHERE open;
