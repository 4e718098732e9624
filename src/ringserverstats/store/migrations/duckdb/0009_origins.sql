-- Who took something of a station in a period: clients are counted of these.
CREATE MACRO station_origins_by_day(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, origin, network, station
      FROM station_by_day WHERE day BETWEEN first_day AND last_day;

CREATE MACRO station_origins_by_month(first_day, last_day) AS TABLE
    SELECT server, direction, protocol, origin, network, station
      FROM station_by_month WHERE month BETWEEN first_day AND last_day;
