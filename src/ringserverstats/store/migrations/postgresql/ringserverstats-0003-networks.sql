-- Which networks there are, and what was made coarse of months that are long ago.
-- depends: ringserverstats-0002-clients

-- Networks as the registry has them, as of its last refresh. Open ones have no last day.
CREATE TABLE registry (
    code text COLLATE "C" NOT NULL,
    first_day date NOT NULL,
    last_day date,
    name text COLLATE "C" NOT NULL,
    doi text COLLATE "C"
);

-- What a code stands for from day to day, made of the registry. is_near: none was in operation
-- then, and it is the nearest one.
CREATE TABLE network_on (
    code text COLLATE "C" NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    network text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    doi text COLLATE "C",
    is_near boolean NOT NULL,
    PRIMARY KEY (code, first_day)
);

-- Months of which no client can be followed any more. late: logs of it came later, whose clients
-- may be ones that it had already.
CREATE TABLE pruned (
    month date PRIMARY KEY,
    late boolean NOT NULL
);

-- The only month that an origin is of, once that is pruned.
ALTER TABLE origin ADD COLUMN month date;

-- What was taken out may still lie in the server's files.
ALTER TABLE store ADD COLUMN untidy boolean NOT NULL DEFAULT false;
