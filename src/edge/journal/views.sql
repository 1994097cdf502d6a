-- The readable tables, in a file of their own beside the journal's. Made from the events alone and
-- at most a second behind them; running this file and then every event again gives the same.
-- Amounts are in atomic units of their asset, as integers, or as text where 64 bits are too few;
-- *_nano are billionths of the unit of account; addresses are in lower case.

-- The last event that the tables know, and its hash: it stands for all before it.
CREATE TABLE projection (
    name   TEXT    PRIMARY KEY,
    format INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    at_ns  INTEGER NOT NULL,
    at     TEXT    NOT NULL,
    hash   BLOB    NOT NULL
);

CREATE TABLE rails (
    network   TEXT PRIMARY KEY,
    genesis   TEXT NOT NULL,
    pinned_at TEXT NOT NULL
);

CREATE TABLE policies (
    version    INTEGER PRIMARY KEY,
    applied_at TEXT    NOT NULL,
    applied_by TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    document   TEXT    NOT NULL
);

CREATE TABLE agents (
    agent             TEXT PRIMARY KEY,
    agent_id          TEXT NOT NULL UNIQUE,
    role              TEXT NOT NULL,
    group_name        TEXT NOT NULL,
    wallet            TEXT NOT NULL,
    delegation        TEXT,
    added_at          TEXT NOT NULL,
    added_by          TEXT NOT NULL,
    token_replaced_at TEXT
);

CREATE TABLE delegations (
    delegation   TEXT    PRIMARY KEY,
    subject      BLOB    NOT NULL UNIQUE,
    parent       TEXT    NOT NULL,
    child        TEXT    NOT NULL,
    limit_nano   INTEGER NOT NULL,
    delegated_at TEXT    NOT NULL,
    until        TEXT    NOT NULL,
    until_ns     INTEGER NOT NULL
);

CREATE TABLE wallets (
    wallet    TEXT PRIMARY KEY,
    wallet_id TEXT NOT NULL UNIQUE,
    address   TEXT NOT NULL,
    opened_at TEXT NOT NULL
);

-- What each wallet has of each asset: entered - left - paid, of which held is set aside, and locked
-- lies in channels or is on its way there.
CREATE TABLE positions (
    wallet_id      TEXT NOT NULL,
    network        TEXT NOT NULL,
    asset          TEXT NOT NULL,
    entered        NOT NULL DEFAULT 0,
    left           NOT NULL DEFAULT 0,
    paid           NOT NULL DEFAULT 0,
    held           NOT NULL DEFAULT 0,
    locked         NOT NULL DEFAULT 0,
    up_to_block    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (wallet_id, network, asset)
) WITHOUT ROWID;

CREATE TABLE pauses (
    scope     TEXT PRIMARY KEY,
    reason    TEXT NOT NULL,
    paused_at TEXT NOT NULL,
    paused_by TEXT NOT NULL
);

-- What many rows have in common is written once, and named there by its number.
CREATE TABLE words (
    no   INTEGER PRIMARY KEY,
    word TEXT    NOT NULL UNIQUE
);

-- Every payment, as the view `payments` shows it in words: ids, addresses, hashes in bytes, times in
-- milliseconds, names by their number. seq is the entry that held it; seats is where an open one
-- counts, in postcard, and open_nano how much.
CREATE TABLE payment_rows (
    seq              INTEGER PRIMARY KEY,
    payment          BLOB    NOT NULL UNIQUE,
    agent            INTEGER NOT NULL,
    role             INTEGER,
    group_name       INTEGER,
    session          INTEGER,
    request          BLOB    NOT NULL,
    attempt          INTEGER NOT NULL,
    provider         INTEGER NOT NULL,
    capability       INTEGER NOT NULL,
    model            INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    scheme           INTEGER NOT NULL,
    network          INTEGER NOT NULL,
    asset            BLOB    NOT NULL,
    from_address     BLOB    NOT NULL,
    to_address       BLOB    NOT NULL,
    amount_held      NOT NULL,
    amount           ,
    held_nano        INTEGER NOT NULL,
    spent_nano       INTEGER,
    transaction_hash BLOB,
    nonce            BLOB    NOT NULL,
    policy_version   INTEGER NOT NULL,
    held_ms          INTEGER NOT NULL,
    ended_ms         INTEGER,
    verified_ms      INTEGER,
    wallet_id        BLOB    NOT NULL,
    valid_before_ms  INTEGER NOT NULL,
    open_nano        INTEGER,
    seats            BLOB
);

CREATE INDEX payments_by_agent ON payment_rows (agent);
CREATE INDEX payments_open ON payment_rows (seq) WHERE seats IS NOT NULL;

-- The payer's channels. state: open, closing, closed, or why nothing more is signed. Of deposited -
-- returned, charged is the payee's, claimed of it already; up to ceiling was signed for, ever.
CREATE TABLE channels (
    channel             TEXT    PRIMARY KEY,
    state               TEXT    NOT NULL DEFAULT 'open',
    wallet_id           TEXT    NOT NULL,
    role                TEXT    NOT NULL,
    provider            TEXT    NOT NULL,
    network             TEXT    NOT NULL,
    asset               TEXT    NOT NULL,
    payer               TEXT    NOT NULL,
    receiver            TEXT    NOT NULL,
    payer_authorizer    TEXT    NOT NULL,
    receiver_authorizer TEXT    NOT NULL,
    withdraw_delay_s    INTEGER NOT NULL,
    salt                TEXT    NOT NULL,
    opened_at           TEXT    NOT NULL,
    pending             NOT NULL DEFAULT 0,
    deposited           NOT NULL DEFAULT 0,
    returned            NOT NULL DEFAULT 0,
    claimed             NOT NULL DEFAULT 0,
    charged             NOT NULL DEFAULT 0,
    ceiling             NOT NULL DEFAULT 0,
    calls               INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Every budget that a policy ever named; those of the policy in force are active.
CREATE TABLE budget_defs (
    no          INTEGER PRIMARY KEY,
    budget      TEXT    NOT NULL,
    selector    TEXT    NOT NULL,
    per         TEXT    NOT NULL,
    limit_nano  INTEGER NOT NULL,
    window_spec TEXT    NOT NULL,
    span_ns     INTEGER NOT NULL,
    active      INTEGER NOT NULL
);

-- What each account of each budget has seen, window by window; a rolling budget's windows are its
-- buckets, dropped once they have left the span.
CREATE TABLE budget_windows (
    no           INTEGER NOT NULL,
    subject      BLOB    NOT NULL,
    from_ns      INTEGER NOT NULL,
    until_ns     INTEGER NOT NULL,
    whose        TEXT    NOT NULL,
    window_from  TEXT    NOT NULL,
    window_until TEXT    NOT NULL,
    spent_nano   INTEGER NOT NULL,
    held_nano    INTEGER NOT NULL,
    PRIMARY KEY (no, subject, from_ns)
) WITHOUT ROWID;

-- Every account in force as of the last event: 4294967295 is the number of delegated budgets.
CREATE VIEW budgets AS
    SELECT budget, selector, per, whose, window_spec,
           min(window_from) AS window_from, max(window_until) AS window_until, limit_nano,
           sum(spent_nano) AS spent_nano, sum(held_nano) AS held_nano,
           max(0, limit_nano - sum(spent_nano) - sum(held_nano)) AS left_nano
    FROM budget_windows JOIN budget_defs USING (no), projection
    WHERE active AND until_ns + span_ns > at_ns
    GROUP BY no, subject
    UNION ALL
    SELECT 'delegation', 'agent/' || child, 'all', whose, 'lifetime',
           window_from, until, limit_nano, spent_nano, held_nano,
           max(0, limit_nano - spent_nano - held_nano)
    FROM budget_windows JOIN delegations USING (subject), projection
    WHERE no = 4294967295 AND delegations.until_ns > at_ns;

-- The payee's side. state: accepted, unknown, due, served, released, dead, refunded; credited and lost
-- for what was served before it was paid; or charged, where a channel pays: then the nonce is the
-- channel and what had been charged before.
CREATE TABLE claims (
    seq              INTEGER PRIMARY KEY,
    nonce            TEXT    NOT NULL,
    network          TEXT    NOT NULL,
    asset            TEXT    NOT NULL,
    from_address     TEXT    NOT NULL,
    to_address       TEXT    NOT NULL,
    amount           NOT NULL,
    payment          TEXT,
    provider         TEXT    NOT NULL,
    capability       TEXT    NOT NULL,
    model            TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    transaction_hash TEXT,
    accepted_at      TEXT    NOT NULL,
    settled_at       TEXT,
    ended_at         TEXT,
    input_units      INTEGER,
    output_units     INTEGER,
    answer_bytes     INTEGER,
    compute_ms       INTEGER,
    lost             ,
    refund_hash      TEXT
);

-- A charged call is looked for by nobody: its nonce, with a stroke in it, is written and no more.
CREATE UNIQUE INDEX claims_once ON claims (nonce, from_address, asset, network)
    WHERE instr(nonce, '/') = 0;
CREATE INDEX claims_streaming ON claims (nonce) WHERE state = 'streaming';

-- The payee's side of channels: of charged, which newest voucher of ceiling stands for, claimed is
-- claimed already; stray was claimed and never charged here, lost can never be claimed.
CREATE TABLE tabs (
    channel          TEXT    PRIMARY KEY,
    network          TEXT    NOT NULL,
    asset            TEXT    NOT NULL,
    payer            TEXT    NOT NULL,
    receiver         TEXT    NOT NULL,
    opened_at        TEXT    NOT NULL,
    balance          NOT NULL DEFAULT 0,
    claimed          NOT NULL DEFAULT 0,
    charged          NOT NULL DEFAULT 0,
    ceiling          NOT NULL DEFAULT 0,
    stray            NOT NULL DEFAULT 0,
    lost             NOT NULL DEFAULT 0,
    calls            INTEGER NOT NULL DEFAULT 0,
    transaction_hash TEXT
) WITHOUT ROWID;

-- Every metered call. side: bought (by an agent of ours), sold, granted (given away). seq is the entry.
CREATE TABLE usage (
    seq              INTEGER PRIMARY KEY,
    at_ns            INTEGER NOT NULL,
    at               TEXT    NOT NULL,
    side             TEXT    NOT NULL,
    agent            TEXT,
    role             TEXT,
    group_name       TEXT,
    payer            TEXT,
    payment          TEXT,
    request          TEXT,
    provider         TEXT    NOT NULL,
    capability       TEXT    NOT NULL,
    model            TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    input_units      INTEGER NOT NULL,
    output_units     INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    compute_ms       INTEGER NOT NULL,
    stored_bytes     INTEGER NOT NULL,
    network          TEXT    NOT NULL,
    asset            TEXT    NOT NULL,
    amount           NOT NULL,
    transaction_hash TEXT
);

CREATE INDEX usage_by_time ON usage (at_ns);
CREATE UNIQUE INDEX usage_once ON usage (payment) WHERE side = 'bought';

-- Calls that were given away, by an order that the payer signed.
CREATE TABLE grants (
    seq          INTEGER PRIMARY KEY,
    granted_at   TEXT NOT NULL,
    payer        TEXT NOT NULL,
    payment      TEXT NOT NULL,
    order_digest TEXT NOT NULL,
    peer         TEXT,
    provider     TEXT NOT NULL,
    capability   TEXT NOT NULL,
    model        TEXT NOT NULL
);

CREATE TABLE gas (
    seq              INTEGER PRIMARY KEY,
    at               TEXT NOT NULL,
    network          TEXT NOT NULL,
    amount           NOT NULL,
    transaction_hash TEXT NOT NULL
);

-- Double entry, as the view `postings` shows it in words. In the order of seq and pair.
CREATE TABLE posting_rows (
    seq       INTEGER NOT NULL,
    pair      INTEGER NOT NULL,
    ms        INTEGER NOT NULL,
    credit    TEXT    NOT NULL,
    debit     TEXT    NOT NULL,
    commodity INTEGER NOT NULL,
    amount    NOT NULL
);

-- Each row takes from one account and gives to another.
CREATE VIEW postings AS
    SELECT seq, pair, strftime('%Y-%m-%dT%H:%M:%S', ms / 1000, 'unixepoch')
                      || printf('.%03dZ', ms % 1000) AS at,
           credit, debit, word AS commodity, amount
    FROM posting_rows JOIN words ON words.no = commodity;

CREATE VIEW books AS
    SELECT commodity, account, sum(debits) AS debits, sum(credits) AS credits
    FROM (SELECT commodity, debit AS account, amount AS debits, 0 AS credits FROM postings
          UNION ALL
          SELECT commodity, credit, 0, amount FROM postings)
    GROUP BY commodity, account;
