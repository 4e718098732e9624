-- Where clients are, whose they are, and what they are to the centre; and a sum that is narrower
-- still, for networks over long times.
-- depends: ringserverstats-0001-tables

DO $do$ BEGIN
    IF to_regclass('transfer_rows') IS NOT NULL THEN
        RAISE EXCEPTION 'the tables are those of a version between two releases; read the logs into a new database';
    END IF;
END $do$;

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

CREATE VIEW network_by_day AS
SELECT day, server, direction, protocol, origin, unnest(network) AS network,
       unnest(bytes) AS bytes, unnest(packets) AS packets, unnest(transfers) AS transfers
  FROM network_by_day_packed;

-- Makes the partitions of the months from one day to another. It runs with its owner's rights, so
-- that a role that only writes needs no right to make tables, and sees this schema alone. A new
-- table is attached when it is whole, which lets others go on with reading and writing.
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

-- The months that are there. Sums of a terabyte keep places of their own, so that none is over 2^63-1.
SELECT make_months(month, month) FROM (SELECT DISTINCT month FROM by_month_packed) m;

INSERT INTO network_by_day_packed
SELECT origin, server, day, direction, protocol, array_agg(network), array_agg(bytes),
       array_agg(packets), array_agg(transfers)
  FROM (
      SELECT day, server, direction, protocol, origin, network, piece,
             (sum(bytes))::bigint AS bytes, (sum(packets))::bigint AS packets,
             sum(transfers)::bigint AS transfers
        FROM (SELECT *, CASE WHEN greatest(bytes, packets) > 1::bigint << 40
                             THEN row_number() OVER () ELSE 0 END AS piece
                FROM station_by_day) s
       GROUP BY day, server, direction, protocol, origin, network, piece
  ) summed
 GROUP BY day, server, direction, protocol, origin;

-- Of origins that were read before, nothing of it is known.
ALTER TABLE origin
    ADD COLUMN direction text COLLATE "C",
    ADD COLUMN country text COLLATE "C",
    ADD COLUMN country_name text COLLATE "C",
    ADD COLUMN city text COLLATE "C",
    ADD COLUMN latitude double precision,
    ADD COLUMN longitude double precision,
    ADD COLUMN geohash text COLLATE "C",
    ADD COLUMN asn bigint,
    ADD COLUMN organisation text COLLATE "C",
    ADD COLUMN place_source text COLLATE "C",
    ADD COLUMN domain text COLLATE "C",
    ADD COLUMN matched text COLLATE "C",
    ADD COLUMN class text COLLATE "C" DEFAULT 'external',
    ADD COLUMN institution text COLLATE "C",
    ADD COLUMN institution_from text COLLATE "C";

-- Transfers with the times of their entries; where TimescaleDB is, it replaces this one alone.
CREATE VIEW logged_transfer AS
SELECT day, log_time, origin, direction, unnest(stream) AS stream, unnest(bytes) AS bytes
  FROM transfer_packed;

-- What release 0.17 had under these names: codes of countries, nothing where it is not known.
CREATE OR REPLACE VIEW ringserver_events AS
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
