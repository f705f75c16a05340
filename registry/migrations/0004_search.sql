-- Search over 100 000 apps: what a query filters, sorts and counts by is kept beside each app, and texts in two
-- indexes: names with the beginnings of their words, for every key that is typed, and all texts by whole words.
-- Apps that were there before are put into the indexes when the store is opened: their row says indexed = 0.

ALTER TABLE apps ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
-- Letters and digits of the name in lower case: what exact matches and the order of names go by.
ALTER TABLE apps ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN tagline TEXT NOT NULL DEFAULT '';
-- When the announcement that is followed was first heard.
ALTER TABLE apps ADD COLUMN announced_at INTEGER NOT NULL DEFAULT 0;
-- The publisher's score as it was set last, in millionths of a point, and in a word.
ALTER TABLE apps ADD COLUMN micro_points INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN band TEXT NOT NULL DEFAULT 'new';
-- Kinds of rights that the newest release needs, as ' a b '; NULL as long as nobody worked them out.
ALTER TABLE apps ADD COLUMN rights TEXT;
-- The release whose description is indexed.
ALTER TABLE apps ADD COLUMN described BLOB;
-- What the app is filtered by; NULL while its announcement does not hold (revoked keys): it is not shown then.
ALTER TABLE apps ADD COLUMN facet INTEGER REFERENCES facets (id);

-- Every combination of what apps are filtered by, with how many apps have it: counts need no scan.
CREATE TABLE facets (
    id            INTEGER PRIMARY KEY,
    category      TEXT    NOT NULL,
    architectures TEXT    NOT NULL,
    -- '?' for unknown.
    rights        TEXT    NOT NULL,
    -- Whole points of the score.
    points        INTEGER NOT NULL,
    apps          INTEGER NOT NULL DEFAULT 0,
    UNIQUE (category, architectures, rights, points)
) STRICT;
CREATE TRIGGER facets_count_i AFTER INSERT ON apps WHEN NEW.facet IS NOT NULL
    BEGIN UPDATE facets SET apps = apps + 1 WHERE id = NEW.facet; END;
CREATE TRIGGER facets_count_d AFTER DELETE ON apps WHEN OLD.facet IS NOT NULL
    BEGIN UPDATE facets SET apps = apps - 1 WHERE id = OLD.facet; END;
CREATE TRIGGER facets_count_u AFTER UPDATE OF facet ON apps WHEN OLD.facet IS NOT NEW.facet
    BEGIN
        UPDATE facets SET apps = apps - 1 WHERE id = OLD.facet;
        UPDATE facets SET apps = apps + 1 WHERE id = NEW.facet;
    END;

CREATE INDEX apps_name ON apps (name_key);
CREATE INDEX apps_announced ON apps (announced_at);
CREATE INDEX apps_points ON apps (micro_points);
CREATE INDEX apps_facet ON apps (facet);
CREATE INDEX apps_unindexed ON apps (id) WHERE indexed = 0;

DROP TABLE apps_text;
CREATE VIRTUAL TABLE app_names USING fts5 (
    name, slug, content = '', contentless_delete = 1, prefix = '1 2 3',
    tokenize = 'unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE app_texts USING fts5 (
    name, slug, tagline, category, description, content = '', contentless_delete = 1,
    tokenize = 'unicode61 remove_diacritics 2'
);

-- Every word of a name, once, and which three letters follow each other in it: what a misspelt word may mean.
CREATE TABLE name_words (
    id   INTEGER PRIMARY KEY,
    word TEXT    NOT NULL UNIQUE
) STRICT;
CREATE VIRTUAL TABLE name_trigrams USING fts5 (
    word, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram'
);

-- Publishers' scores, kept apart from their apps, which may be heard of later.
CREATE TABLE publisher_scores (
    publisher    TEXT    PRIMARY KEY,
    micro_points INTEGER NOT NULL,
    band         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- How much was taken in per day (days since 1970) and from whom; days that are over are forgotten.
CREATE TABLE intake (
    day     INTEGER NOT NULL,
    subject TEXT    NOT NULL,
    kept    INTEGER NOT NULL,
    PRIMARY KEY (day, subject)
) STRICT, WITHOUT ROWID;
-- The blanks mark the word's ends.
CREATE TRIGGER name_words_spelled AFTER INSERT ON name_words
    BEGIN INSERT INTO name_trigrams (rowid, word) VALUES (NEW.id, ' ' || NEW.word || ' '); END;
