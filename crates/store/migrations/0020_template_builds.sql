-- Builds that clients order: why one failed, and the tags it gets when it is ready.
ALTER TABLE builds ADD COLUMN reason TEXT;
ALTER TABLE builds ADD COLUMN reason_step TEXT;

CREATE TABLE build_tags (
    build_id TEXT NOT NULL REFERENCES builds (build_id),
    tag      TEXT NOT NULL,
    PRIMARY KEY (build_id, tag)
);
CREATE INDEX builds_by_status ON builds (status);
