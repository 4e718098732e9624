-- The number of entries of a reject: many rejects of a file are one row.
-- depends: ringserverstats-0014-server-generation

--postgresql
-- Where yoyo created the tables of today, the column exists already.
ALTER TABLE reject ADD COLUMN IF NOT EXISTS entries bigint NOT NULL DEFAULT 1;
ALTER TABLE reject ALTER entries DROP DEFAULT;
--end
--duckdb ALTER TABLE reject ADD COLUMN entries bigint DEFAULT 1;
--duckdb ALTER TABLE reject ALTER entries SET NOT NULL;
--duckdb ALTER TABLE reject ALTER entries DROP DEFAULT;
UPDATE reject SET entries = regexp_replace(reason, ' .*', '')::bigint
 WHERE reason LIKE '%more rejects up to line%';
