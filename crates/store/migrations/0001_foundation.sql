-- Only TEXT, BIGINT and BLOB, so that the same statements run on both engines.
-- Moments are microseconds since 1970; booleans are 0 or 1.

CREATE TABLE teams (
    team_id       TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    slug          TEXT   NOT NULL UNIQUE,
    is_default    BIGINT NOT NULL,
    max_sandboxes BIGINT,
    created_at    BIGINT NOT NULL
);

-- A key itself is never kept: only its hash, and enough to recognise it by.
CREATE TABLE api_keys (
    key_id       TEXT   NOT NULL PRIMARY KEY,
    team_id      TEXT   NOT NULL REFERENCES teams (team_id),
    name         TEXT   NOT NULL,
    hash         TEXT   NOT NULL UNIQUE,
    mask_prefix  TEXT   NOT NULL,
    mask_suffix  TEXT   NOT NULL,
    value_length BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT
);

-- A template without a team comes with the server and belongs to everybody.
CREATE TABLE templates (
    template_id     TEXT   NOT NULL PRIMARY KEY,
    team_id         TEXT   REFERENCES teams (team_id),
    public          BIGINT NOT NULL,
    spawn_count     BIGINT NOT NULL,
    last_spawned_at BIGINT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

-- The empty namespace holds the names that lead to a template everywhere.
CREATE TABLE aliases (
    namespace   TEXT   NOT NULL,
    alias       TEXT   NOT NULL,
    template_id TEXT   NOT NULL REFERENCES templates (template_id),
    position    BIGINT NOT NULL,
    PRIMARY KEY (namespace, alias)
);
CREATE INDEX aliases_by_template ON aliases (template_id, position);

CREATE TABLE builds (
    build_id     TEXT   NOT NULL PRIMARY KEY,
    template_id  TEXT   NOT NULL REFERENCES templates (template_id),
    status       TEXT   NOT NULL,
    cpu_count    BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes   BIGINT NOT NULL,
    envd_version TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT
);
CREATE INDEX builds_by_template ON builds (template_id, created_at);

CREATE TABLE tags (
    template_id TEXT   NOT NULL REFERENCES templates (template_id),
    tag         TEXT   NOT NULL,
    build_id    TEXT   NOT NULL REFERENCES builds (build_id),
    assigned_at BIGINT NOT NULL,
    PRIMARY KEY (template_id, tag)
);

-- What should exist. When a sandbox started and when it will end is the node's
-- to say; only what nobody else knows is here.
CREATE TABLE sandboxes (
    sandbox_id     TEXT   NOT NULL PRIMARY KEY,
    team_id        TEXT   NOT NULL REFERENCES teams (team_id),
    template_id    TEXT   NOT NULL REFERENCES templates (template_id),
    build_id       TEXT   NOT NULL REFERENCES builds (build_id),
    alias          TEXT,
    cpu_count      BIGINT NOT NULL,
    memory_bytes   BIGINT NOT NULL,
    disk_bytes     BIGINT NOT NULL,
    secured        BIGINT NOT NULL,
    allow_internet BIGINT,
    network        TEXT,
    metadata       TEXT,
    intent         TEXT   NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX sandboxes_by_team ON sandboxes (team_id, intent);
CREATE INDEX sandboxes_by_template ON sandboxes (template_id);

-- What did exist, and why it does not any more.
CREATE TABLE ended (
    sandbox_id        TEXT   NOT NULL PRIMARY KEY,
    team_id           TEXT   NOT NULL REFERENCES teams (team_id),
    template_id       TEXT   NOT NULL,
    build_id          TEXT   NOT NULL,
    cause             TEXT   NOT NULL,
    started_at        BIGINT,
    ended_at          BIGINT NOT NULL,
    peak_memory_bytes BIGINT NOT NULL,
    peak_disk_bytes   BIGINT NOT NULL,
    cpu_micros        BIGINT NOT NULL,
    oom_kills         BIGINT NOT NULL
);
CREATE INDEX ended_by_time ON ended (ended_at);
