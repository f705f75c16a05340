-- A session without its second token opens nothing any more, so owners log in once again.
DROP TABLE session;

CREATE TABLE session (
    -- BLAKE3 of the cookie's token; the tokens themselves are only in the browser.
    token_hash TEXT PRIMARY KEY,
    -- BLAKE3 of the token that comes in a header. Cookies do not know ports, so an app that the owner opens is sent the
    -- cookie; this one the browser gives to nobody but the UI.
    csrf_hash  TEXT NOT NULL,
    -- Where the owner logged in from; elsewhere both tokens are worthless.
    address    TEXT NOT NULL,
    created_s  INTEGER NOT NULL,
    used_s     INTEGER NOT NULL
) STRICT;
