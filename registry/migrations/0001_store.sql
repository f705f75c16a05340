-- Dates are milliseconds since 1970-01-01T00:00:00Z, hashes are 32 bytes, publishers are did:key texts.
-- What was heard or done is only ever added: triggers refuse to change or remove it.

-- Every key state ever accepted; the chain of a publisher is its rows in order of seq.
CREATE TABLE key_states (
    publisher   TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    hash        BLOB    NOT NULL UNIQUE,
    bytes       BLOB    NOT NULL,
    admitted_at INTEGER NOT NULL,
    PRIMARY KEY (publisher, seq)
) STRICT;

-- Every valid announcement ever heard, also those that were refused as old.
CREATE TABLE announcements (
    id            INTEGER PRIMARY KEY,
    publisher     TEXT    NOT NULL,
    slug          TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    hash          BLOB    NOT NULL UNIQUE,
    release_hash  BLOB    NOT NULL,
    created       INTEGER NOT NULL,
    expires       INTEGER NOT NULL,
    bytes         BLOB    NOT NULL,
    first_seen_at INTEGER NOT NULL
) STRICT;
CREATE INDEX announcements_app ON announcements (publisher, slug, seq);

-- From which relay an announcement was first heard.
CREATE TABLE hearings (
    announcement INTEGER NOT NULL REFERENCES announcements (id),
    relay        TEXT    NOT NULL,
    event_id     TEXT    NOT NULL,
    heard_at     INTEGER NOT NULL,
    PRIMARY KEY (announcement, relay)
) STRICT, WITHOUT ROWID;

-- First seen, always seen: which release a seq of an app means. A recovery of the publisher starts a new epoch.
CREATE TABLE first_seen (
    publisher     TEXT    NOT NULL,
    slug          TEXT    NOT NULL,
    epoch         INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    release_hash  BLOB    NOT NULL,
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (publisher, slug, epoch, seq)
) STRICT, WITHOUT ROWID;

-- The highest seq accepted per app; never goes back, whatever the dates say.
CREATE TABLE counters (
    publisher   TEXT    NOT NULL,
    slug        TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    seq_highest INTEGER NOT NULL,
    PRIMARY KEY (publisher, slug, epoch)
) STRICT, WITHOUT ROWID;

-- Two statements by one publisher that cannot both be true; both are kept.
CREATE TABLE equivocations (
    id       INTEGER PRIMARY KEY,
    publisher TEXT   NOT NULL,
    subject  TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    first    BLOB    NOT NULL,
    second   BLOB    NOT NULL UNIQUE,
    found_at INTEGER NOT NULL
) STRICT;
CREATE INDEX equivocations_publisher ON equivocations (publisher);

-- Release blobs that were verified, with the key state that vouched for them.
CREATE TABLE releases (
    hash          BLOB    PRIMARY KEY,
    publisher     TEXT    NOT NULL,
    slug          TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    bytes         BLOB    NOT NULL,
    key_state_seq INTEGER NOT NULL,
    admitted_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX releases_app ON releases (publisher, slug, seq);

-- What happened on this node, per publisher; the trust score is a function of it.
CREATE TABLE evidence (
    id        INTEGER PRIMARY KEY,
    publisher TEXT    NOT NULL,
    event     TEXT    NOT NULL,
    -- Events that count once carry what makes them one, such as the app and the day.
    once      TEXT    UNIQUE,
    at        INTEGER NOT NULL
) STRICT;
CREATE INDEX evidence_publisher ON evidence (publisher);

-- The catalog: one row per app, pointing at its newest announcement.
CREATE TABLE apps (
    id            INTEGER PRIMARY KEY,
    publisher     TEXT    NOT NULL,
    slug          TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    category      TEXT    NOT NULL,
    announcement  INTEGER NOT NULL REFERENCES announcements (id),
    first_seen_at INTEGER NOT NULL,
    UNIQUE (publisher, slug)
) STRICT;
CREATE INDEX apps_slug ON apps (slug);
CREATE VIRTUAL TABLE apps_text USING fts5 (
    name, tagline, category, slug, tokenize = 'unicode61 remove_diacritics 2'
);

-- How far each relay was read; opaque to this store.
CREATE TABLE relay_cursors (
    relay      TEXT    PRIMARY KEY,
    cursor     INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER key_states_kept_u BEFORE UPDATE ON key_states BEGIN SELECT RAISE(ABORT, 'key states are never changed'); END;
CREATE TRIGGER key_states_kept_d BEFORE DELETE ON key_states BEGIN SELECT RAISE(ABORT, 'key states are never removed'); END;
CREATE TRIGGER announcements_kept_u BEFORE UPDATE ON announcements BEGIN SELECT RAISE(ABORT, 'announcements are never changed'); END;
CREATE TRIGGER announcements_kept_d BEFORE DELETE ON announcements BEGIN SELECT RAISE(ABORT, 'announcements are never removed'); END;
CREATE TRIGGER first_seen_kept_u BEFORE UPDATE ON first_seen BEGIN SELECT RAISE(ABORT, 'first sightings are never changed'); END;
CREATE TRIGGER first_seen_kept_d BEFORE DELETE ON first_seen BEGIN SELECT RAISE(ABORT, 'first sightings are never removed'); END;
CREATE TRIGGER equivocations_kept_u BEFORE UPDATE ON equivocations BEGIN SELECT RAISE(ABORT, 'equivocations are never changed'); END;
CREATE TRIGGER equivocations_kept_d BEFORE DELETE ON equivocations BEGIN SELECT RAISE(ABORT, 'equivocations are never removed'); END;
CREATE TRIGGER evidence_kept_u BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END;
CREATE TRIGGER evidence_kept_d BEFORE DELETE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is never removed'); END;
CREATE TRIGGER counters_rise BEFORE UPDATE ON counters WHEN NEW.seq_highest < OLD.seq_highest BEGIN SELECT RAISE(ABORT, 'counters never go back'); END;
CREATE TRIGGER counters_kept_d BEFORE DELETE ON counters BEGIN SELECT RAISE(ABORT, 'counters are never removed'); END;
