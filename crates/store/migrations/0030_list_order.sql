-- Lists are in the order of starts: kept with the row, so that a page is read
-- by an index and not by reading everything.
ALTER TABLE sandboxes ADD COLUMN started_at BIGINT NOT NULL DEFAULT 0;
UPDATE sandboxes SET started_at = created_at;
CREATE INDEX sandboxes_in_order ON sandboxes (team_id, started_at, sandbox_id);
CREATE INDEX sandboxes_of_team_by_intent ON sandboxes (team_id, intent, template_id, started_at);
