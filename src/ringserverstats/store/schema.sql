-- The schema of a new store, for both engines. The text is for PostgreSQL. For DuckDB, lines from
-- `--postgresql` to `--end` are left out and those that begin with `--duckdb` are used.
-- Fields in braces come from store/tables.py.

CREATE TYPE direction AS ENUM ('TX', 'RX');
CREATE TYPE protocol AS ENUM ('Unknown', 'DataLink', 'SeedLink', 'HTTP');

{tables}

-- Minutes of each day that logs cover, and whether all logs of the day were read to their end.
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

-- The days that means are taken over. A log of several days covers none of them by itself.
CREATE VIEW complete_day AS
SELECT server, direction, day FROM coverage
WHERE complete AND minutes = 1440 AND first_day = last_day;

-- The days that are not built, so that their transfers are read; those without rows by stream; and those
-- of months that are not built.
CREATE VIEW unbuilt_day AS SELECT server, day FROM server_day WHERE changed <> built;
CREATE VIEW unlisted_day AS SELECT server, day FROM server_day WHERE changed <> built OR NOT has_streams;
CREATE VIEW open_day AS
SELECT d.server, d.day FROM server_day d LEFT JOIN built_month m
    ON m.server = d.server AND m.month = date_trunc('month', d.day)::date
 WHERE m.server IS NULL;

-- Transfers with the columns that rollups are built from: of all days, and of the days above.
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
--postgresql
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
--end
CREATE VIEW station_transfer AS
SELECT f.*, s.network, s.station FROM stream_transfer f LEFT JOIN stream s ON s.stream = f.stream;
CREATE VIEW unbuilt_station AS
SELECT f.*, s.network, s.station FROM unbuilt_transfer f LEFT JOIN stream s ON s.stream = f.stream;

-- The rollups: rows of built days, and the transfers of all others.
{rollups}
-- Distinct client profiles per station or stream of a period: clients are counted from these. Those with
-- the suffix _built are of built months only.
-- entry_number: transfer.entry of an entry of the ledger: the first eight bytes of its id, least
-- significant first, mixed with its server, as the same block of two servers is two entries.
--duckdb CREATE MACRO station_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE MACRO station_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_month WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO station_profiles_by_month_built(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_month_built WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_day(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_day WHERE day BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_month(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_month WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_month_built(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_month_built WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO swapped(w) AS
--duckdb     ((w & 255) << 56) | (((w >> 8) & 255) << 48) | (((w >> 16) & 255) << 40)
--duckdb     | (((w >> 24) & 255) << 32) | (((w >> 32) & 255) << 24) | (((w >> 40) & 255) << 16)
--duckdb     | (((w >> 48) & 255) << 8) | (w >> 56);
--duckdb CREATE MACRO signed(w) AS (
--duckdb     w::HUGEINT - CASE WHEN w > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END
--duckdb )::BIGINT;
--duckdb CREATE MACRO entry_number(server, entry) AS signed(xor(
--duckdb     swapped((entry::UHUGEINT >> 64)::UBIGINT),
--duckdb     ((server::HUGEINT * 2177342782468422677) % 18446744073709551616)::UBIGINT
--duckdb ));
--duckdb CREATE TABLE migration (number INTEGER NOT NULL);
--postgresql
-- A function's columns have collations where their type has them.
CREATE TYPE station_profile AS (
    server integer,
    direction direction,
    protocol protocol,
    client_profile bigint,
    network text COLLATE "C",
    station text COLLATE "C"
);
CREATE TYPE stream_profile AS (
    server integer,
    direction direction,
    protocol protocol,
    client_profile bigint,
    stream bigint
);

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
CREATE FUNCTION station_profiles_by_month_built(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION station_profiles_by_month(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM station_profiles_by_month_built(first_day, last_day)
    UNION ALL
    SELECT * FROM station_profiles_by_day(
        coalesce((SELECT min(day) FROM open_day WHERE day BETWEEN first_day AND last_day), last_day + 1),
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
CREATE FUNCTION stream_profiles_by_month_built(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, stream
              FROM by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
CREATE FUNCTION stream_profiles_by_month(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM stream_profiles_by_month_built(first_day, last_day)
    UNION ALL
    SELECT * FROM stream_profiles_by_day(
        coalesce((SELECT min(day) FROM open_day WHERE day BETWEEN first_day AND last_day), last_day + 1),
        last_day
    );
END;

CREATE FUNCTION xor(one bigint, other bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN one # other;

CREATE FUNCTION entry_number(server integer, entry uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN (
    get_byte(uuid_send(entry), 0)::bigint | (get_byte(uuid_send(entry), 1)::bigint << 8)
    | (get_byte(uuid_send(entry), 2)::bigint << 16) | (get_byte(uuid_send(entry), 3)::bigint << 24)
    | (get_byte(uuid_send(entry), 4)::bigint << 32) | (get_byte(uuid_send(entry), 5)::bigint << 40)
    | (get_byte(uuid_send(entry), 6)::bigint << 48) | (get_byte(uuid_send(entry), 7)::bigint << 56)
) # (
    (server::numeric * 2177342782468422677) % 18446744073709551616
    - CASE WHEN (server::numeric * 2177342782468422677) % 18446744073709551616
                > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END
)::bigint;

-- Creates the partitions of the months from one day to another. It runs with its owner's rights, so
-- that the writer needs no right to create tables, and sees this schema alone. A new table is
-- attached when it is complete, so that others can read and write meanwhile.
DO $do$ BEGIN EXECUTE format($format$
CREATE FUNCTION make_months(first_day date, last_day date) RETURNS void
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
        {partitioned}
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
REVOKE EXECUTE ON FUNCTION make_months(date, date) FROM PUBLIC;

-- The schema number, as in the table of a DuckDB store.
CREATE VIEW migration AS
SELECT substr(migration_id, 17, 4)::integer AS number FROM _yoyo_migration
WHERE migration_id LIKE 'ringserverstats-%';

-- The table of release 0.17 is kept under another name.
DO $do$ BEGIN
    IF to_regclass('ringserver_events') IS NOT NULL THEN
        IF (SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('ringserver_events')
               AND attname IN ('time', 'bytes') AND NOT attisdropped) < 2 THEN
            RAISE EXCEPTION 'a table ringserver_events of something else is in the way';
        END IF;
        ALTER TABLE ringserver_events RENAME TO ringserver_events_0_17;
    END IF;
END $do$;

-- Transfers with the log times of their entries. Where TimescaleDB is used, it replaces this view.
CREATE VIEW logged_transfer AS {logged_transfer};

-- The table of release 0.17 as a view, for its dashboards. Its time is the log time, clamped to the
-- day on which the entry counts, so that both agree on days.
CREATE VIEW ringserver_events AS
SELECT greatest(
           f.day::timestamp,
           least(f.log_time, f.day + interval '23 hours 59 minutes 59 seconds')
       ) AS time,
       f.bytes, s.network, s.station, s.location, s.channel,
       CASE WHEN o.city NOT IN ('unknown', 'private network') THEN o.city END
           COLLATE "default" AS city,
       CASE WHEN o.country NOT IN ('unknown', 'private network') THEN o.country END
           COLLATE "default" AS country,
       a.name AS agent, nullif(o.geohash, '') COLLATE "default" AS geohash, c.pseudonym AS client
  FROM logged_transfer f
  JOIN stream s ON s.stream = f.stream
  JOIN client_profile o ON o.client_profile = f.client_profile
  JOIN agent a ON a.agent = o.agent
  JOIN client c ON c.client = o.client
 WHERE f.direction = 'TX';

-- A site's own views on the old table read the new view. Their columns keep types and collations.
DO $do$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT DISTINCT c.oid::regclass AS name, rtrim(pg_get_viewdef(c.oid), ';') AS definition,
               (SELECT string_agg(format('own.%I::%s', a.attname,
                                         format_type(a.atttypid, a.atttypmod))
                           || coalesce(' COLLATE ' || nullif(a.attcollation, 0)::regcollation, '')
                           || format(' AS %I', a.attname), ', ' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns
          FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class
         WHERE d.classid = 'pg_rewrite'::regclass AND c.relkind = 'v'
           AND d.refobjid = to_regclass('ringserver_events_0_17')
    LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT %s FROM (%s) own', own.name,
                own.columns, replace(own.definition, 'ringserver_events_0_17', 'ringserver_events'));
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'the view % still reads ringserver_events_0_17: %', own.name, SQLERRM;
        END;
    END LOOP;
END $do$;

-- Roles that could read the old table can read the view; host names are for its owner alone.
DO $do$
DECLARE
    reader text;
BEGIN
    FOR reader IN
        SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
          FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = to_regclass('ringserver_events_0_17') AND a.grantee <> c.relowner
           AND a.privilege_type = 'SELECT'
    LOOP
        EXECUTE 'GRANT SELECT ON ringserver_events TO ' || reader;
        EXECUTE 'REVOKE ALL ON ringserver_events_0_17 FROM ' || reader;
    END LOOP;
END $do$;
--end
