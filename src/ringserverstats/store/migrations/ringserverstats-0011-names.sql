-- The final names of tables and columns.
-- depends: ringserverstats-0001-tables

--postgresql
-- Where yoyo applied the migration before to an empty database, the names are these already.
DO $names$ BEGIN IF to_regclass('entry_ledger') IS NULL THEN EXECUTE $sql$

DO $do$ BEGIN
    IF to_regclass('to_sum_up') IS NULL OR to_regtype('stream_origin') IS NULL THEN
        RAISE EXCEPTION 'the schema is too old to be upgraded; use an earlier version of ringserverstats first';
    END IF;
    IF to_regclass('transfer_hypertable') IS NOT NULL THEN
        ALTER TABLE transfer_hypertable RENAME origin TO client_profile;
    END IF;
END $do$;

-- Views keep the names of their own columns.
ALTER VIEW transfer RENAME origin TO client_profile;
ALTER VIEW by_day RENAME origin TO client_profile;
ALTER VIEW by_month RENAME origin TO client_profile;
ALTER VIEW station_by_day RENAME origin TO client_profile;
ALTER VIEW station_by_month RENAME origin TO client_profile;
ALTER VIEW network_by_day RENAME origin TO client_profile;
ALTER VIEW logged_transfer RENAME origin TO client_profile;
ALTER VIEW coverage RENAME whole TO complete;
ALTER VIEW covered_day RENAME TO complete_day;

DROP FUNCTION station_origins_by_day, station_origins_by_month;
DROP FUNCTION stream_origins_by_day, stream_origins_by_month;
ALTER TYPE station_origin RENAME TO station_profile;
ALTER TYPE station_profile RENAME ATTRIBUTE origin TO client_profile;
ALTER TYPE stream_origin RENAME TO stream_profile;
ALTER TYPE stream_profile RENAME ATTRIBUTE origin TO client_profile;

ALTER TABLE transfer_packed RENAME origin TO client_profile;
ALTER TABLE by_day_packed RENAME origin TO client_profile;
ALTER TABLE by_month_packed RENAME origin TO client_profile;
ALTER TABLE station_by_day_packed RENAME origin TO client_profile;
ALTER TABLE station_by_month_packed RENAME origin TO client_profile;
ALTER TABLE network_by_day_packed RENAME origin TO client_profile;

ALTER TABLE store RENAME is_one TO singleton;
ALTER TABLE day_version RENAME number TO version;
ALTER TABLE outlet RENAME TO exporter;
ALTER TABLE exporter RENAME outlet TO exporter;
ALTER TABLE exporter RENAME shape TO definition;
ALTER TABLE exporter RENAME clears TO clear_first;
ALTER TABLE sent RENAME TO exported_day;
ALTER TABLE exported_day RENAME outlet TO exporter;
ALTER TABLE exported_day RENAME number TO version;
ALTER TABLE to_sum_up RENAME TO pending_export;
ALTER TABLE pending_export RENAME outlet TO exporter;
ALTER TABLE day_version ALTER corrected SET NOT NULL;
ALTER TABLE day_version ALTER corrected DROP DEFAULT;

CREATE FUNCTION station_profiles_by_day(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_day_packed WHERE day BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION station_profiles_by_month(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION stream_profiles_by_day(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, stream
              FROM by_day_packed WHERE day BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION stream_profiles_by_month(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, stream
              FROM by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
--end

--duckdb DROP VIEW covered_day;
--duckdb DROP VIEW coverage;
--duckdb DROP MACRO TABLE station_origins_by_day;
--duckdb DROP MACRO TABLE station_origins_by_month;
--duckdb DROP MACRO TABLE stream_origins_by_day;
--duckdb DROP MACRO TABLE stream_origins_by_month;

ALTER TABLE seen RENAME TO entry_ledger;
ALTER TABLE covered RENAME TO log_interval;
ALTER TABLE log_interval RENAME whole TO complete;
ALTER TABLE imported RENAME TO imported_day;
ALTER TABLE pruned RENAME TO pruned_month;
ALTER TABLE pruned_month RENAME late TO has_late_logs;
ALTER TABLE network_on RENAME TO network_period;
ALTER TABLE network_period RENAME is_near TO is_nearest;
ALTER TABLE store RENAME untidy TO vacuum_pending;
ALTER TABLE server RENAME former TO former_names;
ALTER TABLE token RENAME made TO created;
ALTER TABLE origin RENAME TO client_profile;
ALTER TABLE client_profile RENAME origin TO client_profile;
ALTER TABLE client_profile RENAME matched TO matched_rules;
ALTER TABLE client_profile RENAME place_source TO location_source;
ALTER TABLE client_profile RENAME institution_from TO institution_source;
ALTER TABLE connection_by_day RENAME origin TO client_profile;
ALTER TABLE hour_by_day RENAME origin TO client_profile;
--duckdb ALTER TABLE transfer RENAME origin TO client_profile;
--duckdb ALTER TABLE by_day RENAME origin TO client_profile;
--duckdb ALTER TABLE by_month RENAME origin TO client_profile;
--duckdb ALTER TABLE station_by_day RENAME origin TO client_profile;
--duckdb ALTER TABLE station_by_month RENAME origin TO client_profile;
--duckdb ALTER TABLE network_by_day RENAME origin TO client_profile;

-- What migrations of both engines had otherwise.
--duckdb ALTER TABLE store ALTER generation SET NOT NULL;
--duckdb ALTER TABLE store ALTER last_server SET NOT NULL;
--duckdb ALTER TABLE store ALTER vacuum_pending SET NOT NULL;
--duckdb ALTER TABLE server ALTER paths SET NOT NULL;
ALTER TABLE store ALTER generation DROP DEFAULT;
ALTER TABLE store ALTER last_server DROP DEFAULT;
ALTER TABLE server ALTER paths DROP DEFAULT;
ALTER TABLE client_profile ALTER class DROP DEFAULT;

-- DuckDB cannot rename a column that an index depends on, so these tables are copied.
--duckdb CREATE TABLE day_version_new (
--duckdb     day date NOT NULL, version bigint NOT NULL, corrected bigint NOT NULL, PRIMARY KEY (day)
--duckdb );
--duckdb INSERT INTO day_version_new SELECT day, number, corrected FROM day_version;
--duckdb DROP TABLE day_version;
--duckdb ALTER TABLE day_version_new RENAME TO day_version;
--duckdb CREATE TABLE exporter (
--duckdb     exporter text NOT NULL, definition text NOT NULL, clear_first boolean NOT NULL,
--duckdb     PRIMARY KEY (exporter)
--duckdb );
--duckdb INSERT INTO exporter SELECT outlet, shape, clears FROM outlet;
--duckdb DROP TABLE outlet;
--duckdb CREATE TABLE exported_day (
--duckdb     exporter text NOT NULL, day date NOT NULL, version bigint NOT NULL,
--duckdb     PRIMARY KEY (exporter, day)
--duckdb );
--duckdb INSERT INTO exported_day SELECT outlet, day, number FROM sent;
--duckdb DROP TABLE sent;
--duckdb CREATE TABLE pending_export (
--duckdb     exporter text NOT NULL, month date NOT NULL, PRIMARY KEY (exporter, month)
--duckdb );
--duckdb INSERT INTO pending_export SELECT outlet, month FROM to_sum_up;
--duckdb DROP TABLE to_sum_up;

CREATE OR REPLACE VIEW coverage AS
WITH piece AS (
    SELECT *, max(last_minute) OVER (
            PARTITION BY server, direction, day ORDER BY first_minute, last_minute
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM log_interval
)
SELECT server, direction, day,
       sum(greatest(0, last_minute - greatest(first_minute, coalesce(reached, 0)))) AS minutes,
       bool_and(complete) AS complete, min(first_day) AS first_day, max(last_day) AS last_day
FROM piece GROUP BY server, direction, day;

CREATE OR REPLACE VIEW complete_day AS
SELECT server, direction, day FROM coverage
WHERE complete AND minutes = 1440 AND first_day = last_day;

--duckdb CREATE MACRO station_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE MACRO station_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_month WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_month WHERE month BETWEEN first_day AND last_day;
--postgresql
$sql$; END IF; END $names$;
--end
