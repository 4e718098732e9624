-- Who took something of a stream in a period: clients are counted of these.
CREATE MACRO stream_origins_by_day(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, origin, stream
      FROM by_day WHERE day BETWEEN first_day AND last_day;

CREATE MACRO stream_origins_by_month(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, origin, stream
      FROM by_month WHERE month BETWEEN first_day AND last_day;
