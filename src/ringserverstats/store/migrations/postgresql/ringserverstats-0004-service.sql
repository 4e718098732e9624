-- What the web service needs: who may come in, which answers still hold, and what is quick to ask.
-- depends: ringserverstats-0003-networks

-- digest: SHA-256 of the token, in hexadecimal digits. networks: it reads of these alone; none: all.
CREATE TABLE token (
    name text COLLATE "C" PRIMARY KEY,
    digest text COLLATE "C" NOT NULL,
    may_ingest boolean NOT NULL,
    networks text[] COLLATE "C" NOT NULL,
    made date NOT NULL
);

-- A number of each day, raised whenever anything of the day changes. What holds of all days is
-- told by that of 1970-01-01.
CREATE TABLE day_version (
    day date PRIMARY KEY,
    number bigint NOT NULL
);

-- What connections took by hour (local; -1 where a log is of no single hour), for the time of day.
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

INSERT INTO hour_by_day (day, hour, server, direction, protocol, origin, bytes, packets, transfers)
SELECT day, coalesce(hour, -1), server, direction, protocol, origin, sum(bytes), sum(packets),
       count(*)
  FROM transfer GROUP BY 1, 2, 3, 4, 5, 6;
