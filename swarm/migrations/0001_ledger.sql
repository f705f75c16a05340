-- Which blob is held, why, and whether others may have it. Dates are seconds since 1970-01-01T00:00:00Z, hashes are 32 bytes.

-- What a set of blobs is kept for.
CREATE TABLE tags (
    tag   TEXT PRIMARY KEY,
    class TEXT NOT NULL CHECK (class IN ('installed', 'publishing', 'previous', 'cache'))
) STRICT, WITHOUT ROWID;

CREATE TABLE holds (
    tag        TEXT    NOT NULL REFERENCES tags (tag) ON DELETE CASCADE,
    blob       BLOB    NOT NULL CHECK (length(blob) = 32),
    hold       TEXT    NOT NULL CHECK (hold IN ('partial', 'partial-shared', 'kept', 'shared')),
    role       TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    first_held INTEGER NOT NULL,
    last_used  INTEGER NOT NULL,
    PRIMARY KEY (tag, blob)
) STRICT, WITHOUT ROWID;

-- Blobs whose bytes on disk are not what their hash says; a row goes when the bytes are gone.
CREATE TABLE damaged (
    blob  BLOB    PRIMARY KEY CHECK (length(blob) = 32),
    found INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Bytes sent to other nodes; the day is counted since 1970-01-01.
CREATE TABLE uploads (
    day   INTEGER NOT NULL,
    tag   TEXT    NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (day, tag)
) STRICT, WITHOUT ROWID;
