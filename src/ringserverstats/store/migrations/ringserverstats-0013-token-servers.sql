-- Tokens that may post logs of some servers only.
-- depends: ringserverstats-0011-names

--postgresql
-- Where yoyo created the tables of today, the column exists already.
ALTER TABLE token ADD COLUMN IF NOT EXISTS servers text[] COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE token ALTER servers DROP DEFAULT;
--end
--duckdb ALTER TABLE token ADD COLUMN servers text[] DEFAULT [];
--duckdb ALTER TABLE token ALTER servers SET NOT NULL;
--duckdb ALTER TABLE token ALTER servers DROP DEFAULT;
