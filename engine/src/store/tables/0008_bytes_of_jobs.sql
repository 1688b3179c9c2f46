-- What the data, progress and results of jobs take, which older versions did not count.
UPDATE usage SET bytes = (
  SELECT COALESCE(SUM(octet_length(data) + COALESCE(octet_length(progress), 0) + COALESCE(octet_length(result), 0)), 0)
    FROM jobs WHERE jobs.account = usage.account
) WHERE kind = 'jobs';
