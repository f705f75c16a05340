-- What reviewers say and whom they trust. Raters are the 32 bytes of their Nostr pubkeys, event ids 32 bytes too.
--
-- What was said is never changed. It is removed only when a newer word of the same rater took its place, or while
-- no chain of reviewer lists leads from the owner's seeds to the rater.

-- Whom the owner chose as a reviewer, and took back.
CREATE TABLE seed_choices (
    id      INTEGER PRIMARY KEY,
    rater   BLOB    NOT NULL,
    trusted INTEGER NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX seed_choices_rater ON seed_choices (rater, id);
CREATE VIEW seeds AS
    SELECT rater, at FROM seed_choices AS choice
    WHERE trusted = 1 AND id = (SELECT MAX(id) FROM seed_choices WHERE rater = choice.rater);

-- Lists of trusted reviewers as they were heard. `live` marks a rater's newest one, `reached` whether the rater is
-- in `standings`.
CREATE TABLE reviewer_lists (
    id       INTEGER PRIMARY KEY,
    rater    BLOB    NOT NULL,
    -- Pubkeys, one after another.
    trusts   BLOB    NOT NULL,
    event_id BLOB    NOT NULL,
    created  INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    live     INTEGER NOT NULL,
    reached  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX reviewer_lists_live ON reviewer_lists (rater) WHERE live = 1;
CREATE INDEX reviewer_lists_rater ON reviewer_lists (rater);
CREATE INDEX reviewer_lists_unreached ON reviewer_lists (id) WHERE reached = 0;

-- Votes as they were heard; marks as above, per rater and publisher.
CREATE TABLE votes (
    id        INTEGER PRIMARY KEY,
    publisher TEXT    NOT NULL,
    rater     BLOB    NOT NULL,
    slug      TEXT,
    opinion   TEXT    NOT NULL,
    words     TEXT    NOT NULL,
    event_id  BLOB    NOT NULL,
    created   INTEGER NOT NULL,
    heard_at  INTEGER NOT NULL,
    live      INTEGER NOT NULL,
    reached   INTEGER NOT NULL
) STRICT;
-- A rater is reached or not, so this is one live vote per publisher and rater; the marks of those who are not
-- reached, however many, are out of the way of those who count.
CREATE UNIQUE INDEX votes_live ON votes (publisher, reached, rater) WHERE live = 1;
CREATE INDEX votes_replaced ON votes (publisher, rater) WHERE live = 0;
CREATE INDEX votes_rater ON votes (rater);
CREATE INDEX votes_unreached ON votes (id) WHERE reached = 0;

-- What the word of every rater within reach weighs; drawn from seeds and lists, and stale when one of them changed.
CREATE TABLE standings (
    rater      BLOB    PRIMARY KEY,
    weight     INTEGER NOT NULL,
    hops       INTEGER NOT NULL,
    introducer BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE network (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    stale INTEGER NOT NULL
) STRICT;
INSERT INTO network (only, stale) VALUES (1, 0);

-- Scores as they were computed; one holds while its inputs hash and the day (since 1970-01-01) are those of now.
CREATE TABLE scores (
    publisher     TEXT    PRIMARY KEY,
    micro_points  INTEGER NOT NULL,
    band          TEXT    NOT NULL,
    -- The whole score with its reasons, as JSON.
    reasons_json  TEXT    NOT NULL,
    inputs_hash   BLOB    NOT NULL,
    scored_at_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX scores_micro_points ON scores (micro_points);

CREATE TRIGGER seed_choices_kept_u BEFORE UPDATE ON seed_choices BEGIN SELECT RAISE(ABORT, 'choices of reviewers are never changed'); END;
CREATE TRIGGER seed_choices_kept_d BEFORE DELETE ON seed_choices BEGIN SELECT RAISE(ABORT, 'choices of reviewers are never removed'); END;
CREATE TRIGGER reviewer_lists_kept_u BEFORE UPDATE OF rater, trusts, event_id, created, heard_at ON reviewer_lists BEGIN SELECT RAISE(ABORT, 'reviewer lists are never changed'); END;
CREATE TRIGGER reviewer_lists_kept_d BEFORE DELETE ON reviewer_lists WHEN OLD.live = 1 AND OLD.reached = 1 BEGIN SELECT RAISE(ABORT, 'the newest list of a rater within reach is never removed'); END;
CREATE TRIGGER votes_kept_u BEFORE UPDATE OF publisher, rater, slug, opinion, words, event_id, created, heard_at ON votes BEGIN SELECT RAISE(ABORT, 'votes are never changed'); END;
CREATE TRIGGER votes_kept_d BEFORE DELETE ON votes WHEN OLD.live = 1 AND OLD.reached = 1 BEGIN SELECT RAISE(ABORT, 'the newest vote of a rater within reach is never removed'); END;
