-- Where clients are, whose they are, and what they are to the centre.
-- depends: ringserverstats-0001-tables

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
