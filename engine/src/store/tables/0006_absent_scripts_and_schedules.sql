-- Since when a job's script has not been there.
ALTER TABLE jobs ADD COLUMN absent_ms INTEGER;

-- The schedule that has been looked after; absent in rows of older versions.
ALTER TABLE schedules ADD COLUMN schedule TEXT;
