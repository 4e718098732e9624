-- Views by month read the days of open months only, not all days. Queries that know which months are
-- built have functions of these alone. Clients without an agent have another label.
-- depends: ringserverstats-0016-states

UPDATE agent SET name = 'unspecified', family = 'unspecified' WHERE name = 'not told';
--postgresql
CREATE OR REPLACE VIEW by_month AS
SELECT month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_month_built
UNION ALL
SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day JOIN open_day USING (server, day)
 WHERE day >= (SELECT min(day) FROM open_day);
CREATE OR REPLACE VIEW station_by_month AS
SELECT month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_month_built
UNION ALL
SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day JOIN open_day USING (server, day)
 WHERE day >= (SELECT min(day) FROM open_day);
CREATE OR REPLACE FUNCTION station_profiles_by_month_built(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(network), unnest(station)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, network, station
              FROM station_by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
CREATE OR REPLACE FUNCTION station_profiles_by_month(first_day date, last_day date)
RETURNS SETOF station_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM station_profiles_by_month_built(first_day, last_day)
    UNION ALL
    SELECT * FROM station_profiles_by_day(
        coalesce((SELECT min(day) FROM open_day WHERE day BETWEEN first_day AND last_day), last_day + 1),
        last_day
    );
END;
CREATE OR REPLACE FUNCTION stream_profiles_by_month_built(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT server, direction, protocol, client_profile, unnest(stream)
      FROM (SELECT DISTINCT server, direction, protocol, client_profile, stream
              FROM by_month_packed WHERE month BETWEEN first_day AND last_day) lists;
END;
CREATE OR REPLACE FUNCTION stream_profiles_by_month(first_day date, last_day date)
RETURNS SETOF stream_profile LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM stream_profiles_by_month_built(first_day, last_day)
    UNION ALL
    SELECT * FROM stream_profiles_by_day(
        coalesce((SELECT min(day) FROM open_day WHERE day BETWEEN first_day AND last_day), last_day + 1),
        last_day
    );
END;
--end
--duckdb CREATE OR REPLACE VIEW by_month AS
--duckdb SELECT month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_month_built
--duckdb UNION ALL
--duckdb SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, stream, bytes, packets, transfers FROM by_day JOIN open_day USING (server, day)
--duckdb  WHERE day >= (SELECT min(day) FROM open_day);
--duckdb CREATE OR REPLACE VIEW station_by_month AS
--duckdb SELECT month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_month_built
--duckdb UNION ALL
--duckdb SELECT date_trunc('month', day)::date AS month, server, direction, protocol, client_profile, network, station, bytes, packets, transfers FROM station_by_day JOIN open_day USING (server, day)
--duckdb  WHERE day >= (SELECT min(day) FROM open_day);
--duckdb CREATE MACRO station_profiles_by_month_built(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, network, station
--duckdb       FROM station_by_month_built WHERE month BETWEEN first_day AND last_day;
--duckdb CREATE MACRO stream_profiles_by_month_built(first_day, last_day) AS TABLE
--duckdb     SELECT server, direction, protocol, client_profile, stream
--duckdb       FROM by_month_built WHERE month BETWEEN first_day AND last_day;
