-- People, the teams they belong to, and the tokens they log in with. A token
-- itself is never kept, as a key is not.
CREATE TABLE users (
    user_id    TEXT   NOT NULL PRIMARY KEY,
    email      TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE members (
    team_id    TEXT   NOT NULL REFERENCES teams (team_id),
    user_id    TEXT   NOT NULL REFERENCES users (user_id),
    is_default BIGINT NOT NULL,
    PRIMARY KEY (user_id, team_id)
);

CREATE TABLE access_tokens (
    token_id     TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (user_id),
    name         TEXT   NOT NULL,
    hash         TEXT   NOT NULL UNIQUE,
    mask_prefix  TEXT   NOT NULL,
    mask_suffix  TEXT   NOT NULL,
    value_length BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX access_tokens_by_user ON access_tokens (user_id);

-- Who made a key; nobody for the first one and for those of an operator.
ALTER TABLE api_keys ADD COLUMN created_by TEXT;
CREATE INDEX api_keys_by_team ON api_keys (team_id, created_at);

-- good, blocked (reads and deletes only) or banned (nothing).
ALTER TABLE teams ADD COLUMN standing TEXT NOT NULL DEFAULT 'good';
