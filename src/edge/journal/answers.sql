-- Answers, so that the same request gets the same answer. answer is the SHA-256 of whose it is, rest what
-- was used and charged; both in postcard. The body goes after a day, the row when its request is no longer
-- remembered: both in the order in which they came, so that neither needs an index by age.
CREATE TABLE answers (
    no           INTEGER PRIMARY KEY,
    answer       BLOB    NOT NULL UNIQUE,
    at_ns        INTEGER NOT NULL,
    content_type TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    rest         BLOB    NOT NULL,
    receipt      TEXT
);

CREATE TABLE answer_bodies (
    no   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
);
