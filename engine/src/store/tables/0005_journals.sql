-- What runs were told and asked for. Everything in `sealed` columns is compressed and encrypted.
CREATE TABLE journals (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid TEXT NOT NULL UNIQUE,
  -- Call or run.
  name TEXT NOT NULL,
  account TEXT NOT NULL,
  -- Hash of the manifest of the texts that were run; absent for calls without a script.
  bundle TEXT,
  started_ms INTEGER NOT NULL,
  -- What its parts take.
  bytes INTEGER NOT NULL DEFAULT 0,
  -- How it came out, once it is over.
  sealed BLOB
);
CREATE INDEX journals_name ON journals (name, id);
CREATE INDEX journals_started ON journals (started_ms);
CREATE INDEX journals_bundle ON journals (bundle) WHERE bundle IS NOT NULL;

CREATE TABLE journal_parts (
  uid TEXT NOT NULL REFERENCES journals (uid) ON DELETE CASCADE,
  part INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (uid, part)
) WITHOUT ROWID;

-- Manifests and source texts by their hashes: each is kept once, however many journals need it.
CREATE TABLE journal_texts (
  sha256 TEXT PRIMARY KEY,
  sealed BLOB NOT NULL
);
CREATE TABLE journal_bundles (
  bundle TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (bundle, text)
) WITHOUT ROWID;
CREATE INDEX journal_bundles_text ON journal_bundles (text);

-- What all parts take, kept by whoever changes them.
CREATE TABLE journal_size (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT INTO journal_size VALUES (1, 0);
