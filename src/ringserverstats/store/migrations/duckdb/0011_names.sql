-- The final names of tables and columns, before the first release.

DROP VIEW covered_day;
DROP VIEW coverage;
DROP MACRO TABLE station_origins_by_day;
DROP MACRO TABLE station_origins_by_month;
DROP MACRO TABLE stream_origins_by_day;
DROP MACRO TABLE stream_origins_by_month;

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
ALTER TABLE transfer RENAME origin TO client_profile;
ALTER TABLE by_day RENAME origin TO client_profile;
ALTER TABLE by_month RENAME origin TO client_profile;
ALTER TABLE station_by_day RENAME origin TO client_profile;
ALTER TABLE station_by_month RENAME origin TO client_profile;
ALTER TABLE network_by_day RENAME origin TO client_profile;
ALTER TABLE connection_by_day RENAME origin TO client_profile;
ALTER TABLE hour_by_day RENAME origin TO client_profile;

-- DuckDB cannot rename a column that an index depends on, so that these are copied.
CREATE TABLE day_version_new (
    day DATE PRIMARY KEY,
    version BIGINT NOT NULL,
    corrected BIGINT DEFAULT 0
);
INSERT INTO day_version_new SELECT day, number, corrected FROM day_version;
DROP TABLE day_version;
ALTER TABLE day_version_new RENAME TO day_version;

CREATE TABLE exporter (
    exporter VARCHAR PRIMARY KEY,
    definition VARCHAR NOT NULL,
    clear_first BOOLEAN NOT NULL
);
INSERT INTO exporter SELECT outlet, shape, clears FROM outlet;
DROP TABLE outlet;

CREATE TABLE exported_day (
    exporter VARCHAR NOT NULL,
    day DATE NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (exporter, day)
);
INSERT INTO exported_day SELECT outlet, day, number FROM sent;
DROP TABLE sent;

CREATE TABLE pending_export (
    exporter VARCHAR NOT NULL,
    month DATE NOT NULL,
    PRIMARY KEY (exporter, month)
);
INSERT INTO pending_export SELECT outlet, month FROM to_sum_up;
DROP TABLE to_sum_up;

-- Days by how much of them is covered: minutes, and whether all logs of the day were read whole.
CREATE VIEW coverage AS
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

-- The days that means are taken over. A log of several days says nothing of one of them.
CREATE VIEW complete_day AS
SELECT server, direction, day FROM coverage
WHERE complete AND minutes = 1440 AND first_day = last_day;

-- Distinct client profiles per station or stream of a period: clients are counted from these.
CREATE MACRO station_profiles_by_day(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, client_profile, network, station
      FROM station_by_day WHERE day BETWEEN first_day AND last_day;

CREATE MACRO station_profiles_by_month(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, client_profile, network, station
      FROM station_by_month WHERE month BETWEEN first_day AND last_day;

CREATE MACRO stream_profiles_by_day(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, client_profile, stream
      FROM by_day WHERE day BETWEEN first_day AND last_day;

CREATE MACRO stream_profiles_by_month(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, client_profile, stream
      FROM by_month WHERE month BETWEEN first_day AND last_day;
