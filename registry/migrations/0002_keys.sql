-- Key states are a tree: a stolen key can sign rivals, and which of them count is decided on every reading
-- from all that were admitted, in the order of their ids.
CREATE TABLE key_states_heard (
    id          INTEGER PRIMARY KEY,
    publisher   TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    hash        BLOB    NOT NULL UNIQUE,
    bytes       BLOB    NOT NULL,
    admitted_at INTEGER NOT NULL
) STRICT;
INSERT INTO key_states_heard (publisher, seq, hash, bytes, admitted_at)
    SELECT publisher, seq, hash, bytes, admitted_at FROM key_states ORDER BY publisher, seq;
DROP TABLE key_states;
ALTER TABLE key_states_heard RENAME TO key_states;
CREATE INDEX key_states_publisher ON key_states (publisher, id);
CREATE TRIGGER key_states_kept_u BEFORE UPDATE ON key_states BEGIN SELECT RAISE(ABORT, 'key states are never changed'); END;
CREATE TRIGGER key_states_kept_d BEFORE DELETE ON key_states BEGIN SELECT RAISE(ABORT, 'key states are never removed'); END;

-- Two releases under one seq: of which app, and in which epoch of its counters. A recovery that starts a new
-- epoch ends the freeze.
ALTER TABLE equivocations ADD COLUMN slug TEXT;
ALTER TABLE equivocations ADD COLUMN epoch INTEGER;

-- When a release was first seen, however often it was announced since.
CREATE INDEX announcements_release ON announcements (release_hash, first_seen_at);
