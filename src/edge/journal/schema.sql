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
