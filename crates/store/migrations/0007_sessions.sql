-- Which sandbox a session of a web application has. The row is there before the
-- sandbox is made; a sandbox that is gone leaves a row that the next call replaces.
CREATE TABLE sessions (
    team_id       TEXT   NOT NULL REFERENCES teams (team_id),
    session_id    TEXT   NOT NULL,
    sandbox_id    TEXT   NOT NULL,
    kind          TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    last_activity BIGINT NOT NULL,
    PRIMARY KEY (team_id, session_id)
);
CREATE INDEX sessions_by_activity ON sessions (last_activity);
