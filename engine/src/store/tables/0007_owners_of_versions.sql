-- Whose script a text was; absent in rows of older versions.
ALTER TABLE script_versions ADD COLUMN account TEXT;
