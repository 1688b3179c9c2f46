-- space 0: texts and counters (`kv`, `incr`); 1: objects (`ko`), as JSON.
CREATE TABLE kv (
  account TEXT NOT NULL,
  space INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  expires_ms INTEGER,
  PRIMARY KEY (account, space, key)
) WITHOUT ROWID;
CREATE INDEX kv_expiry ON kv (expires_ms) WHERE expires_ms IS NOT NULL;

-- Records of Userspace, as JSON. With a row number: choosing one at random walks the index alone.
CREATE TABLE userspace (
  account TEXT NOT NULL,
  area TEXT NOT NULL,
  key TEXT NOT NULL,
  data TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX userspace_key ON userspace (account, area, key);

-- What an account's entries take, kept by whoever changes them.
CREATE TABLE usage (
  account TEXT NOT NULL,
  kind TEXT NOT NULL,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (account, kind)
) WITHOUT ROWID;
