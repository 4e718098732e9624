-- What the web service needs: who may come in, and which answers still hold.
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
