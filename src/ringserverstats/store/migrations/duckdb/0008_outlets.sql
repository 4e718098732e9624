-- What has gone on to where days go on to.

-- The number at which something of the day was last taken away, or got another name.
ALTER TABLE day_version ADD COLUMN corrected BIGINT DEFAULT 0;

-- The number that a day had when an outlet was given it. 1970-01-01: since when it is one.
CREATE TABLE sent (
    outlet VARCHAR NOT NULL,
    day DATE NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (outlet, day)
);
