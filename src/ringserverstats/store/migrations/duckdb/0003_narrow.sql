-- Sums that are narrower than streams, so that questions over years stay quick.

-- Empty for entries that were read before. The view of release 0.17 shows it.
ALTER TABLE seen ADD COLUMN log_time TIMESTAMP;

CREATE TABLE station_by_day (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    network VARCHAR,
    station VARCHAR,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

CREATE TABLE station_by_month (
    month DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    network VARCHAR,
    station VARCHAR,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

INSERT INTO station_by_day
SELECT f.day, f.server, f.direction, f.protocol, f.origin, s.network, s.station,
       sum(f.bytes), sum(f.packets), sum(f.transfers)
  FROM by_day f JOIN stream s USING (stream) GROUP BY 1, 2, 3, 4, 5, 6, 7;

INSERT INTO station_by_month
SELECT f.month, f.server, f.direction, f.protocol, f.origin, s.network, s.station,
       sum(f.bytes), sum(f.packets), sum(f.transfers)
  FROM by_month f JOIN stream s USING (stream) GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- What connections took: all that is asked of no stream comes from this one table.
CREATE TABLE connection_again (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    connection BIGINT NOT NULL,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL,
    entries BIGINT NOT NULL
);

INSERT INTO connection_again
SELECT day, server, direction, protocol, origin, connection, sum(bytes), sum(packets), count(*),
       count(DISTINCT entry)
  FROM transfer GROUP BY 1, 2, 3, 4, 5, 6;

DROP TABLE connection_by_day;
ALTER TABLE connection_again RENAME TO connection_by_day;

-- Days whose history came from the database of release 0.17, so that no log of them counts again.
CREATE TABLE imported (
    server INTEGER NOT NULL,
    day DATE NOT NULL
);
