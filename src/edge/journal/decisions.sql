-- What stands beside the readable tables and is not made from events: it goes when the file goes.

-- Why each payment was allowed or refused: the newest of them.
CREATE TABLE decisions (
    no             INTEGER PRIMARY KEY,
    payment        TEXT    NOT NULL UNIQUE,
    agent          TEXT    NOT NULL,
    request        TEXT    NOT NULL,
    at             TEXT    NOT NULL,
    policy_version INTEGER NOT NULL,
    refused        TEXT,
    reason         TEXT,
    decision       TEXT    NOT NULL
);

CREATE VIEW refusals AS
    SELECT no, payment, agent, request, at, policy_version, refused, reason
    FROM decisions WHERE refused IS NOT NULL;
