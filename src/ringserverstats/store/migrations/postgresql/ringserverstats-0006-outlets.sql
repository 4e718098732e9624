-- What has gone on to where days go on to.
-- depends: ringserverstats-0005-totals

-- The number at which something of the day was last taken away, or got another name.
ALTER TABLE day_version ADD COLUMN corrected bigint DEFAULT 0;

-- The number that a day had when an outlet was given it. 1970-01-01: since when it is one.
CREATE TABLE sent (
    outlet text COLLATE "C" NOT NULL,
    day date NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (outlet, day)
);
