-- Apps by number: publisher and slug have up to 96 bytes, which stood in every row and index of what is written for
-- each announcement.

-- Every app that was ever heard of; one that is in the catalog has the same number there.
CREATE TABLE app_ids (
    id        INTEGER PRIMARY KEY,
    publisher TEXT    NOT NULL,
    slug      TEXT    NOT NULL,
    UNIQUE (publisher, slug)
) STRICT;
INSERT INTO app_ids (id, publisher, slug) SELECT id, publisher, slug FROM apps;
INSERT OR IGNORE INTO app_ids (publisher, slug)
    SELECT publisher, slug FROM first_seen UNION SELECT publisher, slug FROM counters
    UNION SELECT publisher, slug FROM announcements;
CREATE TRIGGER app_ids_kept_u BEFORE UPDATE ON app_ids BEGIN SELECT RAISE(ABORT, 'app numbers are never changed'); END;
CREATE TRIGGER app_ids_kept_d BEFORE DELETE ON app_ids BEGIN SELECT RAISE(ABORT, 'app numbers are never removed'); END;

-- First seen, always seen: which release a seq of an app means. A recovery of the publisher starts a new epoch.
-- Whoever adds a row notes its publisher in scores_due.
CREATE TABLE first_seen_by_id (
    app           INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    release_hash  BLOB    NOT NULL,
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (app, epoch, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO first_seen_by_id (app, epoch, seq, release_hash, first_seen_at)
    SELECT app_ids.id, epoch, seq, release_hash, first_seen_at FROM first_seen JOIN app_ids USING (publisher, slug)
    ORDER BY 1, 2, 3;
DROP TABLE first_seen;
ALTER TABLE first_seen_by_id RENAME TO first_seen;
CREATE TRIGGER first_seen_kept_u BEFORE UPDATE ON first_seen BEGIN SELECT RAISE(ABORT, 'first sightings are never changed'); END;
CREATE TRIGGER first_seen_kept_d BEFORE DELETE ON first_seen BEGIN SELECT RAISE(ABORT, 'first sightings are never removed'); END;

-- The highest seq accepted per app; never goes back, whatever the dates say.
CREATE TABLE counters_by_id (
    app         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    seq_highest INTEGER NOT NULL,
    PRIMARY KEY (app, epoch)
) STRICT, WITHOUT ROWID;
INSERT INTO counters_by_id (app, epoch, seq_highest)
    SELECT app_ids.id, epoch, seq_highest FROM counters JOIN app_ids USING (publisher, slug) ORDER BY 1, 2;
DROP TABLE counters;
ALTER TABLE counters_by_id RENAME TO counters;
CREATE TRIGGER counters_rise BEFORE UPDATE ON counters WHEN NEW.seq_highest < OLD.seq_highest BEGIN SELECT RAISE(ABORT, 'counters never go back'); END;
CREATE TRIGGER counters_kept_d BEFORE DELETE ON counters BEGIN SELECT RAISE(ABORT, 'counters are never removed'); END;

-- How many announcements of each app were taken in per day (days since 1970); days that are over are forgotten.
CREATE TABLE app_intake (
    day  INTEGER NOT NULL,
    app  INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    PRIMARY KEY (day, app)
) STRICT, WITHOUT ROWID;
INSERT INTO app_intake (day, app, kept)
    SELECT day, app_ids.id, kept FROM intake JOIN app_ids ON subject = 'app ' || publisher || '/' || slug
    WHERE subject >= 'app ' AND subject < 'app!' ORDER BY 1, 2;
DELETE FROM intake WHERE subject >= 'app ' AND subject < 'app!';

-- An announcement is looked for by its hash or by its release, of an app only by way of both.
DROP INDEX announcements_app;
