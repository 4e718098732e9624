-- Who took something of a stream in a period: clients are counted of these.
-- As in step 0008: lists that are the same day after day are taken once before they are unfolded.
-- depends: ringserverstats-0008-origins

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
