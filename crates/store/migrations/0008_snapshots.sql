-- A snapshot is a template of its own kind; each taking of it is a build that
-- says which sandbox it was taken of, what it keeps, and its size.
ALTER TABLE templates ADD COLUMN kind TEXT NOT NULL DEFAULT 'template';
ALTER TABLE builds ADD COLUMN source_sandbox TEXT;
ALTER TABLE builds ADD COLUMN keeps_memory BIGINT NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN size_bytes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX templates_by_kind ON templates (team_id, kind);
CREATE INDEX builds_by_source ON builds (source_sandbox);
