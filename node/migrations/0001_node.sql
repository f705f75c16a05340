CREATE TABLE job (
    id         TEXT PRIMARY KEY,
    ordinal    INTEGER NOT NULL UNIQUE,
    slug       TEXT NOT NULL,
    ended      INTEGER NOT NULL,
    -- The whole record as JSON.
    record     TEXT NOT NULL
) STRICT;

CREATE INDEX job_active ON job (ended, ordinal);

CREATE TABLE session (
    -- BLAKE3 of the token; the token itself is only in the browser.
    token_hash TEXT PRIMARY KEY,
    csrf       TEXT NOT NULL,
    -- Where the owner logged in from. Cookies do not know ports, so an app on this machine that the owner opens
    -- sees the token: it is worthless from any other address.
    address    TEXT NOT NULL,
    created_s  INTEGER NOT NULL,
    used_s     INTEGER NOT NULL,
    -- Set when a newer token took its place; the old one then works for a short while.
    rotated_s  INTEGER
) STRICT;
