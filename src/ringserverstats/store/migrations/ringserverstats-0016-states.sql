-- Rollups are built from the transfers of a day, and their rows have names of their own.
-- depends: ringserverstats-0015-rejected-entries

--postgresql
-- Where yoyo created the tables of today, nothing is left to do.
DO $states$ BEGIN IF to_regclass('server_day') IS NULL THEN EXECUTE $sql$
CREATE TABLE server_day (server integer NOT NULL, day date NOT NULL, changed bigint NOT NULL, built bigint NOT NULL, has_streams boolean NOT NULL, entries bigint NOT NULL, transfers bigint NOT NULL, bytes numeric NOT NULL, packets numeric NOT NULL, changed_at timestamp NOT NULL, PRIMARY KEY (server, day));
CREATE INDEX ON server_day (day, server) WHERE changed <> built;
CREATE TABLE built_month (server integer NOT NULL, month date NOT NULL, PRIMARY KEY (server, month));
CREATE INDEX ON transfer_packed (day, server);
DO $do$
DECLARE
    since date;
BEGIN
    IF to_regclass('transfer_hypertable') IS NOT NULL THEN
        CREATE INDEX ON transfer_hypertable (day, server);
        -- Days whose transfers TimescaleDB dropped by itself are sealed. It drops no more.
        SELECT (now() AT TIME ZONE 'UTC' - (config->>'drop_after')::interval)::date INTO since
          FROM timescaledb_information.jobs
         WHERE proc_name = 'policy_retention' AND hypertable_name = 'transfer_hypertable'
           AND hypertable_schema = current_schema();
        IF since IS NOT NULL THEN
            UPDATE store SET kept_since = greatest(coalesce(kept_since, since), since);
            PERFORM remove_retention_policy('transfer_hypertable');
        END IF;
    END IF;
END $do$;
DO $do$ BEGIN
    IF to_regclass('transfer_hypertable') IS NULL THEN
        CREATE VIEW stored_transfer AS SELECT client_profile, entry, connection, server, day, direction, protocol, hour, stream, bytes, packets FROM transfer_packed;
    ELSE
        CREATE VIEW stored_transfer AS SELECT client_profile, entry, connection, server, day, direction, protocol, hour, stream, bytes, packets FROM transfer_hypertable UNION ALL SELECT client_profile, entry, connection, server, day, direction, protocol, hour, stream, bytes, packets FROM transfer_packed;
    END IF;
END $do$;
CREATE OR REPLACE VIEW transfer AS SELECT server, day, hour, direction, protocol, client_profile, unnest(stream) AS stream, entry, connection, unnest(bytes) AS bytes, unnest(packets) AS packets FROM stored_transfer;
ALTER VIEW by_day RENAME TO by_day_built;
ALTER VIEW station_by_day RENAME TO station_by_day_built;
ALTER VIEW station_total_by_day RENAME TO station_total_by_day_built;
ALTER VIEW network_by_day RENAME TO network_by_day_built;
ALTER VIEW by_month RENAME TO by_month_built;
ALTER VIEW station_by_month RENAME TO station_by_month_built;
ALTER TABLE connection_by_day RENAME TO connection_by_day_built;
ALTER TABLE hour_by_day RENAME TO hour_by_day_built;
DO $do$
DECLARE
    child record;
BEGIN
    FOR child IN SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
                  WHERE inhparent = 'connection_by_day_built'::regclass LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', child.relname,
                       replace(child.relname, 'connection_by_day_', 'connection_by_day_built_'));
    END LOOP;
END $do$;
DO $do$ BEGIN EXECUTE format($format$
CREATE OR REPLACE FUNCTION make_months(first_day date, last_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %I, pg_temp AS $make$
DECLARE
    parent text;
    month date;
    made text;
BEGIN
    -- As far as names of logs may go. Every argument has the type that is asked for, so that no
    -- function of a stranger fits better.
    IF first_day < date '1999-12-01' OR last_day > date '2100-12-31' THEN
        RAISE EXCEPTION 'no partitions are made from %% to %%', first_day, last_day;
    END IF;
    -- Two that make the same month: the second one waits, and finds it made.
    PERFORM pg_advisory_xact_lock(1381192532, -3);
    FOREACH parent IN ARRAY ARRAY[
        'transfer_packed', 'by_day_packed', 'station_by_day_packed', 'network_by_day_packed', 'connection_by_day_built'
    ] LOOP
        FOR month IN SELECT generate_series(
            date_trunc(text 'month', first_day::timestamp),
            date_trunc(text 'month', last_day::timestamp), interval '1 month'
        )::date LOOP
            made := parent || to_char(month::timestamp, text '_YYYYMM');
            CONTINUE WHEN to_regclass(made) IS NOT NULL;
            EXECUTE format('CREATE TABLE %%I (LIKE %%I INCLUDING ALL)', made, parent);
            EXECUTE format(
                'ALTER TABLE %%I ATTACH PARTITION %%I FOR VALUES FROM (%%L) TO (%%L)',
                parent, made, month, (month + interval '1 month')::date
            );
        END LOOP;
    END LOOP;
END
$make$
$format$, current_schema()); END $do$;
DROP FUNCTION station_profiles_by_day, station_profiles_by_month;
DROP FUNCTION stream_profiles_by_day, stream_profiles_by_month;
-- The days that are not built, so that their transfers are read; those without rows by stream; and those
-- of months that are not built.
CREATE VIEW unbuilt_day AS SELECT server, day FROM server_day WHERE changed <> built;
CREATE VIEW unlisted_day AS SELECT server, day FROM server_day WHERE changed <> built OR NOT has_streams;
CREATE VIEW open_day AS
SELECT d.server, d.day FROM server_day d LEFT JOIN built_month m
    ON m.server = d.server AND m.month = date_trunc('month', d.day)::date
 WHERE m.server IS NULL;

-- Transfers with the columns that rollups are built from: of all days, and of the days above.
CREATE VIEW stream_transfer AS SELECT *, 1::bigint AS transfers FROM transfer;
CREATE VIEW unlisted_transfer AS
SELECT f.server, f.day, f.hour, f.direction, f.protocol, f.client_profile, unnest(f.stream) AS stream,
       f.entry, f.connection, unnest(f.bytes) AS bytes, unnest(f.packets) AS packets,
       1::bigint AS transfers
  FROM stored_transfer f JOIN unlisted_day d ON d.server = f.server AND d.day = f.day;
CREATE VIEW unbuilt_transfer AS
SELECT f.server, f.day, f.hour, f.direction, f.protocol, f.client_profile, unnest(f.stream) AS stream,
       f.entry, f.connection, unnest(f.bytes) AS bytes, unnest(f.packets) AS packets,
       1::bigint AS transfers
  FROM stored_transfer f JOIN unbuilt_day d ON d.server = f.server AND d.day = f.day;
CREATE VIEW entry_total AS
SELECT day, coalesce(hour, -1::smallint) AS hour, server, direction, protocol, client_profile,
       connection, (SELECT sum(b) FROM unnest(bytes) b) AS bytes,
       (SELECT sum(p) FROM unnest(packets) p) AS packets, cardinality(stream)::bigint AS transfers,
       1::bigint AS entries
  FROM stored_transfer;
CREATE VIEW unbuilt_entry AS
SELECT f.* FROM entry_total f JOIN unbuilt_day d ON d.server = f.server AND d.day = f.day;
CREATE VIEW station_transfer AS
SELECT f.*, s.network, s.station FROM stream_transfer f LEFT JOIN stream s ON s.stream = f.stream;
CREATE VIEW unbuilt_station AS
SELECT f.*, s.network, s.station FROM unbuilt_transfer f LEFT JOIN stream s ON s.stream = f.stream;

-- The rollups: rows of built days, and the transfers of all others.
CREATE VIEW by_day AS
SELECT day, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day_built
UNION ALL
SELECT day, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM unlisted_transfer;
CREATE VIEW station_by_day AS
SELECT day, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day_built
UNION ALL
SELECT day, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM unbuilt_station;
CREATE VIEW station_total_by_day AS
SELECT day, server, direction, protocol, network, station, bytes, packets, transfers FROM station_total_by_day_built
UNION ALL
SELECT day, server, direction, protocol, network, station, bytes, packets, transfers FROM unbuilt_station;
CREATE VIEW network_by_day AS
SELECT day, server, direction, protocol, client_profile, network, bytes, packets, transfers FROM network_by_day_built
UNION ALL
SELECT day, server, direction, protocol, client_profile, network, bytes, packets, transfers FROM unbuilt_station;
CREATE VIEW connection_by_day AS
SELECT day, server, direction, protocol, client_profile, connection, bytes, packets, transfers, entries FROM connection_by_day_built
UNION ALL
SELECT day, server, direction, protocol, client_profile, connection, bytes, packets, transfers, entries FROM unbuilt_entry;
CREATE VIEW hour_by_day AS
SELECT day, hour, server, direction, protocol, client_profile, bytes, packets, transfers FROM hour_by_day_built
UNION ALL
SELECT day, hour, server, direction, protocol, client_profile, bytes, packets, transfers FROM unbuilt_entry;
CREATE VIEW by_month AS
SELECT month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_month_built
UNION ALL
SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day
 WHERE day >= (SELECT min(day) FROM open_day)
   AND (server, date_trunc('month', day)::date) NOT IN (SELECT server, month FROM built_month);
CREATE VIEW station_by_month AS
SELECT month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_month_built
UNION ALL
SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day
 WHERE day >= (SELECT min(day) FROM open_day)
   AND (server, date_trunc('month', day)::date) NOT IN (SELECT server, month FROM built_month);
-- Regular subscriptions have equal lists of stations or streams day after day: DISTINCT before unnest.
CREATE FUNCTION station_profiles_by_day(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_day_packed WHERE day BETWEEN first_day AND last_day) lists
    UNION ALL
    SELECT lists.server, direction, protocol, client_profile, s.network, s.station
      FROM (SELECT server, direction, protocol, client_profile, unnest(stream) AS stream
              FROM (SELECT DISTINCT f.server, direction, protocol, client_profile, stream
                      FROM stored_transfer f JOIN unbuilt_day d ON d.server = f.server AND d.day = f.day
                     WHERE f.day BETWEEN first_day AND last_day) equal_lists) lists
      LEFT JOIN stream s ON s.stream = lists.stream;
END;
CREATE FUNCTION station_profiles_by_month(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_month_packed WHERE month BETWEEN first_day AND last_day) lists
    UNION ALL
    SELECT * FROM station_profiles_by_day(
        coalesce((SELECT greatest(first_day, min(day)) FROM open_day HAVING count(*) > 0), last_day + 1),
        last_day
    );
END;
CREATE FUNCTION stream_profiles_by_day(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT server, direction, protocol, client_profile, stream
              FROM by_day_packed WHERE day BETWEEN first_day AND last_day
            UNION
            SELECT f.server, direction, protocol, client_profile, stream
              FROM stored_transfer f JOIN unlisted_day d ON d.server = f.server AND d.day = f.day
             WHERE f.day BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION stream_profiles_by_month(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, stream
              FROM by_month_packed WHERE month BETWEEN first_day AND last_day) lists
    UNION ALL
    SELECT * FROM stream_profiles_by_day(
        coalesce((SELECT greatest(first_day, min(day)) FROM open_day HAVING count(*) > 0), last_day + 1),
        last_day
    );
END;
$sql$; END IF; END $states$;
--end
--duckdb CREATE TABLE server_day (server integer NOT NULL, day date NOT NULL, changed bigint NOT NULL, built bigint NOT NULL, has_streams boolean NOT NULL, entries bigint NOT NULL, transfers bigint NOT NULL, bytes hugeint NOT NULL, packets hugeint NOT NULL, changed_at timestamp NOT NULL, PRIMARY KEY (server, day));
--duckdb CREATE TABLE built_month (server integer NOT NULL, month date NOT NULL);
--duckdb ALTER TABLE by_day RENAME TO by_day_built;
--duckdb ALTER TABLE station_by_day RENAME TO station_by_day_built;
--duckdb ALTER TABLE station_total_by_day RENAME TO station_total_by_day_built;
--duckdb ALTER TABLE network_by_day RENAME TO network_by_day_built;
--duckdb ALTER TABLE connection_by_day RENAME TO connection_by_day_built;
--duckdb ALTER TABLE hour_by_day RENAME TO hour_by_day_built;
--duckdb ALTER TABLE by_month RENAME TO by_month_built;
--duckdb ALTER TABLE station_by_month RENAME TO station_by_month_built;
--duckdb CREATE VIEW unbuilt_day AS SELECT server, day FROM server_day WHERE changed <> built;
--duckdb CREATE VIEW unlisted_day AS SELECT server, day FROM server_day WHERE changed <> built OR NOT has_streams;
--duckdb CREATE VIEW open_day AS
--duckdb SELECT d.server, d.day FROM server_day d LEFT JOIN built_month m
--duckdb     ON m.server = d.server AND m.month = date_trunc('month', d.day)::date
--duckdb  WHERE m.server IS NULL;
--duckdb CREATE VIEW stream_transfer AS SELECT *, 1::bigint AS transfers FROM transfer;
--duckdb CREATE VIEW unlisted_transfer AS
--duckdb SELECT f.* FROM stream_transfer f JOIN unlisted_day d ON d.server = f.server AND d.day = f.day;
--duckdb CREATE VIEW unbuilt_transfer AS
--duckdb SELECT f.* FROM stream_transfer f JOIN unbuilt_day d ON d.server = f.server AND d.day = f.day;
--duckdb CREATE VIEW entry_total AS
--duckdb SELECT day, coalesce(hour, -1)::tinyint AS hour, server, direction, protocol, client_profile,
--duckdb        connection, sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers,
--duckdb        1::bigint AS entries
--duckdb   FROM transfer
--duckdb  GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry;
--duckdb CREATE VIEW unbuilt_entry AS
--duckdb SELECT day, coalesce(hour, -1)::tinyint AS hour, server, direction, protocol, client_profile,
--duckdb        connection, sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers,
--duckdb        1::bigint AS entries
--duckdb   FROM unbuilt_transfer
--duckdb  GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry;
--duckdb CREATE VIEW station_transfer AS
--duckdb SELECT f.*, s.network, s.station FROM stream_transfer f LEFT JOIN stream s ON s.stream = f.stream;
--duckdb CREATE VIEW unbuilt_station AS
--duckdb SELECT f.*, s.network, s.station FROM unbuilt_transfer f LEFT JOIN stream s ON s.stream = f.stream;
--duckdb CREATE VIEW by_day AS
--duckdb SELECT day, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day_built
--duckdb UNION ALL
--duckdb SELECT day, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM unlisted_transfer;
--duckdb CREATE VIEW station_by_day AS
--duckdb SELECT day, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day_built
--duckdb UNION ALL
--duckdb SELECT day, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM unbuilt_station;
--duckdb CREATE VIEW station_total_by_day AS
--duckdb SELECT day, server, direction, protocol, network, station, bytes, packets, transfers FROM station_total_by_day_built
--duckdb UNION ALL
--duckdb SELECT day, server, direction, protocol, network, station, bytes, packets, transfers FROM unbuilt_station;
--duckdb CREATE VIEW network_by_day AS
--duckdb SELECT day, server, direction, protocol, client_profile, network, bytes, packets, transfers FROM network_by_day_built
--duckdb UNION ALL
--duckdb SELECT day, server, direction, protocol, client_profile, network, bytes, packets, transfers FROM unbuilt_station;
--duckdb CREATE VIEW connection_by_day AS
--duckdb SELECT day, server, direction, protocol, client_profile, connection, bytes, packets, transfers, entries FROM connection_by_day_built
--duckdb UNION ALL
--duckdb SELECT day, server, direction, protocol, client_profile, connection, bytes, packets, transfers, entries FROM unbuilt_entry;
--duckdb CREATE VIEW hour_by_day AS
--duckdb SELECT day, hour, server, direction, protocol, client_profile, bytes, packets, transfers FROM hour_by_day_built
--duckdb UNION ALL
--duckdb SELECT day, hour, server, direction, protocol, client_profile, bytes, packets, transfers FROM unbuilt_entry;
--duckdb CREATE VIEW by_month AS
--duckdb SELECT month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_month_built
--duckdb UNION ALL
--duckdb SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day
--duckdb  WHERE day >= (SELECT min(day) FROM open_day)
--duckdb    AND (server, date_trunc('month', day)::date) NOT IN (SELECT server, month FROM built_month);
--duckdb CREATE VIEW station_by_month AS
--duckdb SELECT month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_month_built
--duckdb UNION ALL
--duckdb SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day
--duckdb  WHERE day >= (SELECT min(day) FROM open_day)
--duckdb    AND (server, date_trunc('month', day)::date) NOT IN (SELECT server, month FROM built_month);
--duckdb CREATE OR REPLACE MACRO station_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE OR REPLACE MACRO station_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_month WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE OR REPLACE MACRO stream_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE OR REPLACE MACRO stream_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_month WHERE month BETWEEN first_day AND last_day;
-- What is there is built. Days without transfers are those before store.kept_since.
INSERT INTO server_day (server, day, changed, built, has_streams, entries, transfers, bytes, packets,
                        changed_at)
SELECT server, day, 1, 1, true, count(*), sum(transfers), sum(bytes), sum(packets),
       (current_timestamp AT TIME ZONE 'UTC')::timestamp
  FROM entry_ledger WHERE NOT EXISTS (SELECT 1 FROM server_day) GROUP BY server, day;
INSERT INTO built_month (server, month)
SELECT DISTINCT server, date_trunc('month', day)::date FROM server_day
 WHERE NOT EXISTS (SELECT 1 FROM built_month);
