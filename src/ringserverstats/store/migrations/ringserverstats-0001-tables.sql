-- The schema of PostgreSQL stores before the first release: migrations 0001 to 0009 in one, applied
-- only by `yoyo apply` to an empty database. `ringserverstats migrate` uses store/schema.sql instead.
-- depends:

CREATE TYPE direction AS ENUM ('TX', 'RX');
CREATE TYPE protocol AS ENUM ('Unknown', 'DataLink', 'SeedLink', 'HTTP');

-- Texts are compared by their bytes, as in DuckDB, whatever the database's language.
CREATE TABLE store (
    id text COLLATE "C" NOT NULL,
    key_check text COLLATE "C" NOT NULL,
    ipv6_prefix integer NOT NULL,
    generation text COLLATE "C" NOT NULL DEFAULT '',
    last_server integer NOT NULL DEFAULT 0,
    kept_since date,  -- transfers of days before were dropped, perhaps under other settings
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    untidy boolean NOT NULL DEFAULT false
);

CREATE TABLE server (
    server integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    timezone text COLLATE "C" NOT NULL,
    former text[] COLLATE "C" NOT NULL,
    paths text[] COLLATE "C" NOT NULL DEFAULT '{}',
    first_day date,
    last_day date
);

CREATE TABLE seen (
    server integer NOT NULL,
    log_day date NOT NULL,
    entry uuid NOT NULL,
    day date NOT NULL,
    bytes bigint NOT NULL,
    packets bigint NOT NULL,
    transfers integer NOT NULL,
    log_time timestamp,
    PRIMARY KEY (server, log_day, entry)
);

CREATE TABLE stream (
    stream bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    network text COLLATE "C",
    station text COLLATE "C",
    location text COLLATE "C",
    channel text COLLATE "C",
    type text COLLATE "C"
);

CREATE TABLE agent (
    agent bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    family text COLLATE "C" NOT NULL
);

CREATE TABLE client (
    client bigint PRIMARY KEY,
    pseudonym text COLLATE "C" NOT NULL,
    address text COLLATE "C",
    host text COLLATE "C"
);

CREATE TABLE origin (
    origin bigint PRIMARY KEY,
    client bigint NOT NULL,
    agent bigint NOT NULL,
    auth_user text COLLATE "C",
    direction text COLLATE "C",
    country text COLLATE "C",
    country_name text COLLATE "C",
    city text COLLATE "C",
    latitude double precision,
    longitude double precision,
    geohash text COLLATE "C",
    asn bigint,
    organisation text COLLATE "C",
    place_source text COLLATE "C",
    domain text COLLATE "C",
    matched text COLLATE "C",
    class text COLLATE "C" DEFAULT 'external',
    institution text COLLATE "C",
    institution_from text COLLATE "C",
    month date
);

-- One row for each entry: its transfers lie in arrays of one length, which take a quarter of the
-- room of rows. The view `transfer` has them as rows.
CREATE TABLE transfer_packed (
    entry bigint NOT NULL,
    origin bigint NOT NULL,
    connection bigint NOT NULL,
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    hour smallint,
    log_time timestamp,
    stream bigint[] NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL
) PARTITION BY RANGE (day);

-- One row for each day (or month), server, direction, protocol and origin, packed likewise. A sum
-- over 2^63-1 is spread over several places of the arrays.
CREATE TABLE by_day_packed (
    origin bigint NOT NULL,
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    stream bigint[] NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (day, server, origin, direction, protocol)
) PARTITION BY RANGE (day);

CREATE TABLE by_month_packed (
    origin bigint NOT NULL,
    server integer NOT NULL,
    month date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    stream bigint[] NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (month, server, origin, direction, protocol)
);

CREATE TABLE station_by_day_packed (
    origin bigint NOT NULL,
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network text[] COLLATE "C" NOT NULL,
    station text[] COLLATE "C" NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (day, server, origin, direction, protocol)
) PARTITION BY RANGE (day);

CREATE TABLE station_by_month_packed (
    origin bigint NOT NULL,
    server integer NOT NULL,
    month date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network text[] COLLATE "C" NOT NULL,
    station text[] COLLATE "C" NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (month, server, origin, direction, protocol)
);

CREATE TABLE network_by_day_packed (
    origin bigint NOT NULL,
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network text[] COLLATE "C" NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (day, server, origin, direction, protocol)
) PARTITION BY RANGE (day);

CREATE TABLE station_total_by_day_packed (
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network text[] COLLATE "C" NOT NULL,
    station text[] COLLATE "C" NOT NULL,
    bytes bigint[] NOT NULL,
    packets bigint[] NOT NULL,
    transfers bigint[] NOT NULL,
    PRIMARY KEY (day, server, direction, protocol)
);

-- Ids do not compress.
ALTER TABLE transfer_packed ALTER stream SET STORAGE EXTERNAL;
ALTER TABLE by_day_packed ALTER stream SET STORAGE EXTERNAL;
ALTER TABLE by_month_packed ALTER stream SET STORAGE EXTERNAL;

CREATE TABLE connection_by_day (
    day date NOT NULL,
    server integer NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin bigint NOT NULL,
    connection bigint NOT NULL,
    bytes numeric NOT NULL,
    packets numeric NOT NULL,
    transfers bigint NOT NULL,
    entries bigint NOT NULL,
    PRIMARY KEY (day, server, origin, connection, direction, protocol)
) PARTITION BY RANGE (day);

CREATE TABLE covered (
    server integer NOT NULL,
    direction direction NOT NULL,
    day date NOT NULL,
    first_minute smallint NOT NULL,
    last_minute smallint NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    whole boolean NOT NULL,
    PRIMARY KEY (server, direction, day, first_minute, last_minute, first_day, last_day)
);

CREATE TABLE reject (
    server integer NOT NULL,
    digest uuid NOT NULL,
    direction direction,
    day date,
    file text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    line bigint NOT NULL,
    lines bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    PRIMARY KEY (server, digest)
);

CREATE TABLE imported (
    server integer NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (server, day)
);

CREATE TABLE registry (
    code text COLLATE "C" NOT NULL,
    first_day date NOT NULL,
    last_day date,
    name text COLLATE "C" NOT NULL,
    doi text COLLATE "C"
);

CREATE TABLE network_on (
    code text COLLATE "C" NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    network text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    doi text COLLATE "C",
    is_near boolean NOT NULL,
    PRIMARY KEY (code, first_day)
);

CREATE TABLE pruned (
    month date PRIMARY KEY,
    late boolean NOT NULL
);

CREATE TABLE token (
    name text COLLATE "C" PRIMARY KEY,
    digest text COLLATE "C" NOT NULL,
    may_ingest boolean NOT NULL,
    networks text[] COLLATE "C" NOT NULL,
    made date NOT NULL
);

CREATE TABLE day_version (
    day date PRIMARY KEY,
    number bigint NOT NULL,
    corrected bigint DEFAULT 0
);

CREATE TABLE hour_by_day (
    day date NOT NULL,
    hour smallint NOT NULL,
    server integer NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin bigint NOT NULL,
    bytes numeric NOT NULL,
    packets numeric NOT NULL,
    transfers bigint NOT NULL,
    PRIMARY KEY (day, hour, server, origin, direction, protocol)
);

CREATE TABLE outlet (
    outlet text COLLATE "C" PRIMARY KEY,
    shape text COLLATE "C" NOT NULL,
    clears boolean NOT NULL
);

CREATE TABLE sent (
    outlet text COLLATE "C" NOT NULL,
    day date NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (outlet, day)
);

CREATE TABLE to_sum_up (
    outlet text COLLATE "C" NOT NULL,
    month date NOT NULL,
    PRIMARY KEY (outlet, month)
);

CREATE VIEW transfer AS
SELECT server, day, hour, direction, protocol, origin, unnest(stream) AS stream, entry, connection,
       unnest(bytes) AS bytes, unnest(packets) AS packets
  FROM transfer_packed;

CREATE VIEW by_day AS
SELECT day, server, direction, protocol, origin, unnest(stream) AS stream, unnest(bytes) AS bytes,
       unnest(packets) AS packets, unnest(transfers) AS transfers
  FROM by_day_packed;

CREATE VIEW by_month AS
SELECT month, server, direction, protocol, origin, unnest(stream) AS stream, unnest(bytes) AS bytes,
       unnest(packets) AS packets, unnest(transfers) AS transfers
  FROM by_month_packed;

CREATE VIEW station_by_day AS
SELECT day, server, direction, protocol, origin, unnest(network) AS network,
       unnest(station) AS station, unnest(bytes) AS bytes, unnest(packets) AS packets,
       unnest(transfers) AS transfers
  FROM station_by_day_packed;

CREATE VIEW station_by_month AS
SELECT month, server, direction, protocol, origin, unnest(network) AS network,
       unnest(station) AS station, unnest(bytes) AS bytes, unnest(packets) AS packets,
       unnest(transfers) AS transfers
  FROM station_by_month_packed;

CREATE VIEW network_by_day AS
SELECT day, server, direction, protocol, origin, unnest(network) AS network,
       unnest(bytes) AS bytes, unnest(packets) AS packets, unnest(transfers) AS transfers
  FROM network_by_day_packed;

CREATE VIEW station_total_by_day AS
SELECT day, server, direction, protocol, unnest(network) AS network, unnest(station) AS station,
       unnest(bytes) AS bytes, unnest(packets) AS packets, unnest(transfers) AS transfers
  FROM station_total_by_day_packed;

CREATE VIEW coverage AS
WITH piece AS (
    SELECT *, max(last_minute) OVER (
            PARTITION BY server, direction, day ORDER BY first_minute, last_minute
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM covered
)
SELECT server, direction, day,
       sum(greatest(0, last_minute - greatest(first_minute, coalesce(reached, 0)))) AS minutes,
       bool_and(whole) AS whole, min(first_day) AS first_day, max(last_day) AS last_day
FROM piece GROUP BY server, direction, day;

CREATE VIEW covered_day AS
SELECT server, direction, day FROM coverage
WHERE whole AND minutes = 1440 AND first_day = last_day;

-- What release 0.17 had under this name, for dashboards that ask it; its own table is kept aside.
-- Time is the log time within the day on which an entry counts, so that both agree on days.
DO $do$ BEGIN
    IF to_regclass('ringserver_events') IS NOT NULL THEN
        IF (SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('ringserver_events')
               AND attname IN ('time', 'bytes') AND NOT attisdropped) < 2 THEN
            RAISE EXCEPTION 'a table ringserver_events of something else is in the way';
        END IF;
        ALTER TABLE ringserver_events RENAME TO ringserver_events_0_17;
    END IF;
END $do$;

-- Transfers with the times of their entries; where TimescaleDB is, it replaces this one alone.
CREATE VIEW logged_transfer AS
SELECT day, log_time, origin, direction, unnest(stream) AS stream, unnest(bytes) AS bytes
  FROM transfer_packed;

-- What release 0.17 had under these names: codes of countries, nothing where it is not known.
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
  JOIN origin o ON o.origin = f.origin
  JOIN agent a ON a.agent = o.agent
  JOIN client c ON c.client = o.client
 WHERE f.direction = 'TX';

-- Who asked the old table asks the view now; host names are for its owner alone.
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

-- The steps that this database has seen, by number, as in a DuckDB store.
CREATE VIEW migration AS
SELECT substr(migration_id, 17, 4)::integer AS number FROM _yoyo_migration
WHERE migration_id LIKE 'ringserverstats-%';

CREATE FUNCTION xor(one bigint, other bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN one # other;

-- transfer.entry of an entry of seen: its id's first eight bytes, the first one least significant,
-- mixed with its server, as the same block of two servers is two entries.
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

-- Makes the partitions of the months from one day to another. It runs with its owner's rights, so
-- that a role that only writes needs no right to make tables, and sees this schema alone. A new
-- table is attached when it is whole, which lets others go on with reading and writing.
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
        'transfer_packed', 'by_day_packed', 'station_by_day_packed', 'network_by_day_packed',
        'connection_by_day'
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

-- A function's columns have collations where their type says so.
CREATE TYPE station_origin AS (
    server integer,
    direction direction,
    protocol protocol,
    origin bigint,
    network text COLLATE "C",
    station text COLLATE "C"
);

CREATE FUNCTION station_origins_by_day(first_day date, last_day date)
RETURNS SETOF station_origin LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, origin, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, origin, network, station
              FROM station_by_day_packed WHERE day BETWEEN first_day AND last_day) lists;
END;

CREATE FUNCTION station_origins_by_month(first_day date, last_day date)
RETURNS SETOF station_origin LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, origin, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, origin, network, station
              FROM station_by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;

CREATE TYPE stream_origin AS (
    server integer,
    direction direction,
    protocol protocol,
    origin bigint,
    stream bigint
);

CREATE FUNCTION stream_origins_by_day(first_day date, last_day date)
RETURNS SETOF stream_origin LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, origin, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, origin, stream
              FROM by_day_packed WHERE day BETWEEN first_day AND last_day) lists;
END;

CREATE FUNCTION stream_origins_by_month(first_day date, last_day date)
RETURNS SETOF stream_origin LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, origin, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, origin, stream
              FROM by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
