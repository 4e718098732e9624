-- Where clients are, whose they are, and what they are to the centre; and a sum that is narrower
-- still, for networks over long times.

CREATE TABLE network_by_day (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    network VARCHAR,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

INSERT INTO network_by_day
SELECT day, server, direction, protocol, origin, network, sum(bytes), sum(packets), sum(transfers)
  FROM station_by_day GROUP BY 1, 2, 3, 4, 5, 6;

-- Of origins that were read before, nothing of it is known.
ALTER TABLE origin ADD COLUMN direction VARCHAR;
ALTER TABLE origin ADD COLUMN country VARCHAR;
ALTER TABLE origin ADD COLUMN country_name VARCHAR;
ALTER TABLE origin ADD COLUMN city VARCHAR;
ALTER TABLE origin ADD COLUMN latitude DOUBLE;
ALTER TABLE origin ADD COLUMN longitude DOUBLE;
ALTER TABLE origin ADD COLUMN geohash VARCHAR;
ALTER TABLE origin ADD COLUMN asn BIGINT;
ALTER TABLE origin ADD COLUMN organisation VARCHAR;
ALTER TABLE origin ADD COLUMN place_source VARCHAR;
ALTER TABLE origin ADD COLUMN domain VARCHAR;
ALTER TABLE origin ADD COLUMN matched VARCHAR;
ALTER TABLE origin ADD COLUMN class VARCHAR DEFAULT 'external';
ALTER TABLE origin ADD COLUMN institution VARCHAR;
ALTER TABLE origin ADD COLUMN institution_from VARCHAR;
