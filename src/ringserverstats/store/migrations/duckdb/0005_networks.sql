-- Which networks there are, and what was made coarse of months that are long ago.

-- Networks as the registry has them, as of its last refresh. Open ones have no last day.
CREATE TABLE registry (
    code VARCHAR NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE,
    name VARCHAR NOT NULL,
    doi VARCHAR
);

-- What a code stands for from day to day, made of the registry. is_near: none was in operation
-- then, and it is the nearest one.
CREATE TABLE network_on (
    code VARCHAR NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL,
    network VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    doi VARCHAR,
    is_near BOOLEAN NOT NULL
);

-- Months of which no client can be followed any more. late: logs of it came later, whose clients
-- may be ones that it had already.
CREATE TABLE pruned (
    month DATE NOT NULL,
    late BOOLEAN NOT NULL
);

-- The only month that an origin is of, once that is pruned.
ALTER TABLE origin ADD COLUMN month DATE;

-- Transfers of days before are not kept.
ALTER TABLE store ADD COLUMN kept_since DATE;

-- What was taken out may still lie in the file.
ALTER TABLE store ADD COLUMN untidy BOOLEAN DEFAULT false;
