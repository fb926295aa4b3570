//! The tables of `objects.sqlite`.

/// Creates missing tables, in new folders and in those of earlier releases.
///
/// Times are seconds since the Unix epoch. Checksums, headers, lists of parts and events are JSON. SQLite compares
/// text by bytes, and for UTF-8 that is the order in which S3 lists keys.
///
/// A row of `version` is a delete marker if `blob`, `size`, `etag`, `checksum` and `headers` are all NULL.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS bucket (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    versioning TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS version (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL REFERENCES bucket (name),
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    modified INTEGER NOT NULL,
    blob TEXT,
    size INTEGER,
    etag TEXT,
    checksum TEXT,
    headers TEXT,
    UNIQUE (bucket, key, version_id)
);
CREATE INDEX IF NOT EXISTS version_in_listing_order ON version (bucket, key, sequence DESC);
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES bucket (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    initiated INTEGER NOT NULL,
    headers TEXT NOT NULL,
    checksum TEXT
);
CREATE TABLE IF NOT EXISTS part (
    upload TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE TABLE IF NOT EXISTS notification (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS completed_upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES bucket (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    parts TEXT NOT NULL,
    version_id TEXT,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    completed INTEGER NOT NULL
);
";
