-- Who took something of a station in a period: clients are counted of these.
-- Steady subscriptions have the same lists of stations day after day, which are taken once before
-- they are unfolded.
-- depends: ringserverstats-0007-packed-totals

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
