-- What registries' catalogs said. Dates are milliseconds since 1970-01-01T00:00:00Z, hashes are 32 bytes.

-- The newest catalog accepted per operator; its seq never goes back.
CREATE TABLE catalogs (
    operator    TEXT    PRIMARY KEY,
    seq         INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    admitted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER catalogs_rise BEFORE UPDATE ON catalogs WHEN NEW.seq < OLD.seq BEGIN SELECT RAISE(ABORT, 'catalogs never go back'); END;
CREATE TRIGGER catalogs_kept_d BEFORE DELETE ON catalogs BEGIN SELECT RAISE(ABORT, 'catalog counters are never removed'); END;

-- Which releases each registry lists now: until when there is news of an app. No evidence, so it may be replaced.
CREATE TABLE listings (
    registry     TEXT    NOT NULL,
    publisher    TEXT    NOT NULL,
    slug         TEXT    NOT NULL,
    release_hash BLOB    NOT NULL,
    operator     TEXT    NOT NULL,
    catalog_seq  INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    PRIMARY KEY (registry, publisher, slug)
) STRICT, WITHOUT ROWID;
CREATE INDEX listings_app ON listings (publisher, slug);
