-- What all clients together took of each station: pages that count no clients ask this small table.
CREATE TABLE station_total_by_day (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network VARCHAR,
    station VARCHAR,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

INSERT INTO station_total_by_day
SELECT day, server, direction, protocol, network, station, sum(bytes), sum(packets), sum(transfers)
  FROM station_by_day GROUP BY 1, 2, 3, 4, 5, 6;
