-- Events of the embedded relay. `d` is the d tag of addressable events, '' for replaceable ones, NULL for others.
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    pubkey     BLOB    NOT NULL,
    kind       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    d          TEXT,
    expires    INTEGER,
    json       TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_slot ON event (pubkey, kind, d) WHERE d IS NOT NULL;
CREATE INDEX event_date ON event (created_at DESC, id);
CREATE INDEX event_kind ON event (kind, created_at DESC, id);
CREATE INDEX event_author ON event (pubkey, created_at DESC, id);
CREATE INDEX event_expires ON event (expires) WHERE expires IS NOT NULL;

-- The first value of every single-letter tag.
CREATE TABLE tag (
    event INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (event, name, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_value ON tag (name, value, event);

-- What authors deleted (NIP-09), so that it does not come back.
CREATE TABLE deleted_event (
    id     BLOB NOT NULL,
    pubkey BLOB NOT NULL,
    PRIMARY KEY (id, pubkey)
) STRICT, WITHOUT ROWID;
CREATE TABLE deleted_slot (
    pubkey BLOB    NOT NULL,
    kind   INTEGER NOT NULL,
    d      TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (pubkey, kind, d)
) STRICT, WITHOUT ROWID;
