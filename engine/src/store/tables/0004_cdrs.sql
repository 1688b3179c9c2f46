CREATE TABLE cdrs (
  id INTEGER PRIMARY KEY,
  call TEXT NOT NULL,
  account TEXT NOT NULL,
  customer INTEGER,
  did TEXT,
  caller TEXT NOT NULL,
  callee TEXT NOT NULL,
  gateways TEXT NOT NULL,
  code INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  answered_ms INTEGER,
  ended_ms INTEGER NOT NULL,
  cost REAL,
  data TEXT NOT NULL
);
CREATE INDEX cdrs_started ON cdrs (started_ms);
CREATE INDEX cdrs_ended ON cdrs (ended_ms);
CREATE INDEX cdrs_customer ON cdrs (customer, id) WHERE customer IS NOT NULL;
