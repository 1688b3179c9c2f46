-- What lists are asked for by, so that none has to look through a whole table for a few rows.
CREATE INDEX cdrs_caller ON cdrs (caller, id);
CREATE INDEX cdrs_callee ON cdrs (callee, id);
CREATE INDEX cdrs_did ON cdrs (did, id) WHERE did IS NOT NULL;

-- Where there is one account, everything is the default one's: nothing is to be told apart, and no write pays for it.
CREATE INDEX cdrs_account ON cdrs (account, id) WHERE account <> 'default';
CREATE INDEX jobs_account ON jobs (account, id) WHERE account <> 'default';
CREATE INDEX journals_account ON journals (account, id) WHERE sealed IS NOT NULL AND account <> 'default';

-- state 3: failed.
CREATE INDEX jobs_failed ON jobs (account, id) WHERE state = 3;
