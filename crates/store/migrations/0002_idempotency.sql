-- Which sandbox a create with an idempotency key led to.
CREATE TABLE idempotency (
    team_id      TEXT   NOT NULL REFERENCES teams (team_id),
    key          TEXT   NOT NULL,
    request_hash TEXT   NOT NULL,
    sandbox_id   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (team_id, key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);
