-- The generation of each server: a correction of one ends no ingest of others.
-- depends: ringserverstats-0013-token-servers

--postgresql
-- Where yoyo created the tables of today, the column exists already.
ALTER TABLE server ADD COLUMN IF NOT EXISTS generation text COLLATE "C" NOT NULL DEFAULT '';
--end
--duckdb ALTER TABLE server ADD COLUMN generation text DEFAULT '';
--duckdb ALTER TABLE server ALTER generation SET NOT NULL;
