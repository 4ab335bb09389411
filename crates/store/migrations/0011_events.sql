-- What happened to sandboxes, and who is to be told.
CREATE TABLE events (
    event_id     TEXT   NOT NULL PRIMARY KEY,
    team_id      TEXT   NOT NULL,
    sandbox_id   TEXT   NOT NULL,
    template_id  TEXT   NOT NULL,
    build_id     TEXT   NOT NULL,
    execution_id TEXT   NOT NULL,
    type         TEXT   NOT NULL,
    data         TEXT,
    happened_at  BIGINT NOT NULL
);
CREATE INDEX events_by_team ON events (team_id, happened_at);
CREATE INDEX events_by_sandbox ON events (sandbox_id, happened_at);
CREATE INDEX events_by_time ON events (happened_at);

CREATE TABLE webhooks (
    webhook_id TEXT   NOT NULL PRIMARY KEY,
    team_id    TEXT   NOT NULL REFERENCES teams (team_id),
    name       TEXT   NOT NULL,
    url        TEXT   NOT NULL,
    enabled    BIGINT NOT NULL,
    -- Types between commas, with one at each end.
    events     TEXT   NOT NULL,
    secret     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhooks_by_team ON webhooks (team_id, created_at);

-- What is still to be delivered, and (without due_at) what never could be.
CREATE TABLE deliveries (
    event_id   TEXT   NOT NULL REFERENCES events (event_id) ON DELETE CASCADE,
    webhook_id TEXT   NOT NULL REFERENCES webhooks (webhook_id) ON DELETE CASCADE,
    attempts   BIGINT NOT NULL,
    due_at     BIGINT,
    error      TEXT,
    PRIMARY KEY (event_id, webhook_id)
);
CREATE INDEX deliveries_due ON deliveries (due_at);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id);
