-- What is written once. The readable tables are in a file of their own: views.sql.

-- Every event, in the one order. hash = SHA-256(hash before, seq, at_ns, body), numbers as eight
-- bytes, highest first; the first follows 32 zero bytes. body is the event in postcard.
CREATE TABLE events (
    seq   INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    kind  TEXT    NOT NULL,
    body  BLOB    NOT NULL,
    hash  BLOB    NOT NULL
);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'events are never removed');
END;

-- Ledgers as of an event, to restart from. head is that event's hash; checksum covers this row and
-- the parts. A row is written after its parts, so a row without all of them is damage.
CREATE TABLE snapshots (
    seq      INTEGER PRIMARY KEY,
    at_ns    INTEGER NOT NULL,
    head     BLOB    NOT NULL,
    parts    INTEGER NOT NULL,
    checksum BLOB    NOT NULL
);

CREATE TABLE snapshot_parts (
    seq  INTEGER NOT NULL,
    part INTEGER NOT NULL,
    body BLOB    NOT NULL,
    PRIMARY KEY (seq, part)
);

-- Answers, so that the same request gets the same answer. The body goes after a day, the row when
-- its request is no longer remembered.
CREATE TABLE answers (
    answer       TEXT    PRIMARY KEY,
    at_ns        INTEGER NOT NULL,
    at           TEXT    NOT NULL,
    content_type TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    usage        TEXT    NOT NULL,
    receipt      TEXT,
    body         BLOB,
    charge       TEXT
) WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (at_ns);
CREATE INDEX answers_with_body ON answers (at_ns) WHERE body IS NOT NULL;
