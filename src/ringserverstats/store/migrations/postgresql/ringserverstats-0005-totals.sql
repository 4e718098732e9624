-- What all clients together took of each station: pages that count no clients ask this small table.
-- depends: ringserverstats-0004-service

-- Batches that are on their way now are to be in it too, whoever runs this.
SELECT pg_advisory_xact_lock(1381192532, 0);

CREATE TABLE station_total_by_day (
    day date NOT NULL,
    server integer NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    network text COLLATE "C",
    station text COLLATE "C",
    bytes numeric NOT NULL,
    packets numeric NOT NULL,
    transfers bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (day, server, direction, protocol, network, station)
);

INSERT INTO station_total_by_day
SELECT day, server, direction, protocol, network, station, sum(bytes), sum(packets), sum(transfers)
  FROM station_by_day GROUP BY 1, 2, 3, 4, 5, 6;
