-- state 0: ready, 1: active, 2: completed, 3: failed, 4: delayed, 5: ready in a paused queue.
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account TEXT NOT NULL,
  queue TEXT NOT NULL,
  script TEXT NOT NULL,
  function TEXT,
  kind INTEGER NOT NULL,
  data TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  redelivered INTEGER NOT NULL DEFAULT 0,
  backoff_ms INTEGER NOT NULL,
  timeout_ms INTEGER,
  due_ms INTEGER NOT NULL,
  progress TEXT,
  result TEXT,
  error TEXT,
  created_ms INTEGER NOT NULL,
  started_ms INTEGER,
  finished_ms INTEGER
);
CREATE INDEX jobs_ready ON jobs (priority, id) WHERE state = 0;
CREATE INDEX jobs_active ON jobs (id) WHERE state = 1;
CREATE INDEX jobs_delayed ON jobs (due_ms) WHERE state = 4;
CREATE INDEX jobs_paused ON jobs (account, queue) WHERE state = 5;
CREATE INDEX jobs_finished ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

CREATE TABLE paused_queues (
  account TEXT NOT NULL,
  queue TEXT NOT NULL,
  PRIMARY KEY (account, queue)
) WITHOUT ROWID;

-- Up to when a script's schedule has been looked after.
CREATE TABLE schedules (
  account TEXT NOT NULL,
  script TEXT NOT NULL,
  seen_ms INTEGER NOT NULL,
  PRIMARY KEY (account, script)
) WITHOUT ROWID;
