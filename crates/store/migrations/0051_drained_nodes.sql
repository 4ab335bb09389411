-- Nodes that take nothing new until their operator says otherwise.
CREATE TABLE drained_nodes (
    node_id    TEXT   NOT NULL PRIMARY KEY,
    drained_at BIGINT NOT NULL
);
