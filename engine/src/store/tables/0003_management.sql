-- Texts of scripts that could be run, oldest first; `origin`: folder or http.
CREATE TABLE script_versions (
  file TEXT NOT NULL,
  number INTEGER NOT NULL,
  source TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  origin TEXT NOT NULL,
  saved_ms INTEGER NOT NULL,
  PRIMARY KEY (file, number)
) WITHOUT ROWID;

-- Which of them lies in the folder.
CREATE TABLE script_live (
  file TEXT PRIMARY KEY,
  number INTEGER NOT NULL
) WITHOUT ROWID;

-- Users, numbers, gateways, routes and customers beside those of the configuration, as JSON.
CREATE TABLE provisioned (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  entry TEXT NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- Variables of apps; '' is the app of scripts without one.
CREATE TABLE app_env (
  account TEXT NOT NULL,
  app TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  flags INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (account, app, name)
) WITHOUT ROWID;
