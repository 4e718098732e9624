-- The tables of the first release. docs/architecture.md says what each is for.

CREATE TYPE direction AS ENUM ('TX', 'RX');
CREATE TYPE protocol AS ENUM ('Unknown', 'DataLink', 'SeedLink', 'HTTP');

-- One row: who this store is. key_check tells whether a secret is the one its ids were made with.
CREATE TABLE store (
    id VARCHAR NOT NULL,
    key_check VARCHAR NOT NULL,
    ipv6_prefix INTEGER NOT NULL
);

-- former: names that it had before, which its logs may still bear.
CREATE TABLE server (
    server INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    timezone VARCHAR NOT NULL,
    former VARCHAR[] NOT NULL
);

-- The ledger: every entry that was ever counted. Without a primary key, which would live in memory.
CREATE TABLE seen (
    server INTEGER NOT NULL,
    log_day DATE NOT NULL,
    entry UUID NOT NULL,
    day DATE NOT NULL,
    bytes BIGINT NOT NULL,
    packets BIGINT NOT NULL,
    transfers INTEGER NOT NULL
);

CREATE TABLE stream (
    stream BIGINT NOT NULL,
    name VARCHAR NOT NULL,
    network VARCHAR,
    station VARCHAR,
    location VARCHAR,
    channel VARCHAR,
    type VARCHAR
);

CREATE TABLE agent (
    agent BIGINT NOT NULL,
    name VARCHAR NOT NULL,
    family VARCHAR NOT NULL
);

-- address and host stay empty unless the operator sets keep_hosts.
CREATE TABLE client (
    client BIGINT NOT NULL,
    pseudonym VARCHAR NOT NULL,
    address VARCHAR,
    host VARCHAR
);

CREATE TABLE origin (
    origin BIGINT NOT NULL,
    client BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    auth_user VARCHAR
);

-- day: the server's local date. hour: local, only where the log interval is an hour.
CREATE TABLE transfer (
    server INTEGER NOT NULL,
    day DATE NOT NULL,
    hour TINYINT,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    connection BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    packets BIGINT NOT NULL
);

-- Sums have 128 bits: one entry may say 2^63-1, and two must not stop all later ones.
CREATE TABLE by_day (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

CREATE TABLE by_month (
    month DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    bytes HUGEINT NOT NULL,
    packets HUGEINT NOT NULL,
    transfers BIGINT NOT NULL
);

-- Entries and connections do not add up over streams, so they are kept apart.
CREATE TABLE connection_by_day (
    day DATE NOT NULL,
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    origin BIGINT NOT NULL,
    connection BIGINT NOT NULL,
    entries BIGINT NOT NULL
);
