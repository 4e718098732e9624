-- What the web service needs: who may come in, which answers still hold, and what is quick to ask.

-- digest: SHA-256 of the token, in hexadecimal digits. networks: it reads of these alone; none: all.
CREATE TABLE token (
    name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    may_ingest BOOLEAN NOT NULL,
    networks VARCHAR[] NOT NULL,
    made DATE NOT NULL
);

-- A number of each day, raised whenever anything of the day changes. What holds of all days is
-- told by that of 1970-01-01.
CREATE TABLE day_version (
    day DATE PRIMARY KEY,
    number BIGINT NOT NULL
);

-- What connections took by hour (local; -1 where a log is of no single hour), for the time of day.
CREATE TABLE hour_by_day (
    day DATE NOT NULL,
    hour TINYINT NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

INSERT INTO hour_by_day (day, hour, server, direction, protocol, origin, bytes, packets, transfers)
SELECT day, coalesce(hour, -1), server, direction, protocol, origin, sum(bytes), sum(packets),
       count(*)
  FROM transfer GROUP BY 1, 2, 3, 4, 5, 6;
