-- What has gone on to where days go on to.

-- The number at which something of the day was last taken away, or got another name.
ALTER TABLE day_version ADD COLUMN corrected BIGINT DEFAULT 0;

-- Days that were read before days had numbers.
INSERT INTO day_version (day, number) SELECT DISTINCT day, 1 FROM connection_by_day
ON CONFLICT DO NOTHING;

-- shape: what of the store it is told. clears: it had another one, so that a day is cleared there
-- before it is given for the first time.
CREATE TABLE outlet (
    outlet VARCHAR PRIMARY KEY,
    shape VARCHAR NOT NULL,
    clears BOOLEAN NOT NULL
);

-- The number that a day had when an outlet was given it.
CREATE TABLE sent (
    outlet VARCHAR NOT NULL,
    day DATE NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (outlet, day)
);

-- Months of which days were given, and whose sums there are still those of before.
CREATE TABLE to_sum_up (
    outlet VARCHAR NOT NULL,
    month DATE NOT NULL,
    PRIMARY KEY (outlet, month)
);
