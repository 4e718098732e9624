-- What the web service needs: who may come in, and which answers still hold.

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
