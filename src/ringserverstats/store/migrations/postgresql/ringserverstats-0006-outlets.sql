-- What has gone on to where days go on to.
-- depends: ringserverstats-0005-totals

-- The number at which something of the day was last taken away, or got another name.
ALTER TABLE day_version ADD COLUMN corrected bigint DEFAULT 0;

-- Days that were read before days had numbers.
INSERT INTO day_version (day, number) SELECT DISTINCT day, 1 FROM connection_by_day
ON CONFLICT DO NOTHING;

-- shape: what of the store it is told. clears: it had another one, so that a day is cleared there
-- before it is given for the first time.
CREATE TABLE outlet (
    outlet text COLLATE "C" PRIMARY KEY,
    shape text COLLATE "C" NOT NULL,
    clears boolean NOT NULL
);

-- The number that a day had when an outlet was given it.
CREATE TABLE sent (
    outlet text COLLATE "C" NOT NULL,
    day date NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (outlet, day)
);

-- Months of which days were given, and whose sums there are still those of before.
CREATE TABLE to_sum_up (
    outlet text COLLATE "C" NOT NULL,
    month date NOT NULL,
    PRIMARY KEY (outlet, month)
);
