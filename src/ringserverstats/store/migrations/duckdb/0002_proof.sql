-- What lets a store prove itself: which days its logs cover, what was rejected, where logs lie.

-- generation is another one after each correction or restore, so that a process which looked up ids
-- before does not write them. last_server is the greatest number that a server ever had.
ALTER TABLE store ADD COLUMN generation VARCHAR DEFAULT '';
ALTER TABLE store ADD COLUMN last_server INTEGER DEFAULT 0;
UPDATE store SET last_server = (SELECT coalesce(max(server), 0) FROM server);

-- paths: patterns of the files that `ingest` reads when it is given none.
ALTER TABLE server ADD COLUMN paths VARCHAR[] DEFAULT [];

-- The days between which it was in service, where somebody told: no logs are expected outside.
ALTER TABLE server ADD COLUMN first_day DATE;
ALTER TABLE server ADD COLUMN last_day DATE;

-- One row for each local day of each log interval that was read. Minutes are of the day, from 0 to
-- 1440; first_day to last_day is the whole interval, of which a log of a week counts some entries
-- on its first day. whole: the log was read to its end, and after its interval was over.
CREATE TABLE covered (
    server INTEGER NOT NULL,
    direction direction NOT NULL,
    day DATE NOT NULL,
    first_minute SMALLINT NOT NULL,
    last_minute SMALLINT NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL,
    whole BOOLEAN NOT NULL
);

-- What was rejected, once for each server and digest (keyed, of the rejected bytes: an entry that
-- is counted later has the same one). Nothing of its text, which holds addresses. direction and day
-- are what the file's name tells.
CREATE TABLE reject (
    server INTEGER NOT NULL,
    digest UUID NOT NULL,
    direction direction,
    day DATE,
    file VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    line BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    version VARCHAR NOT NULL
);

-- Days by how much of them is covered: minutes, and whether all logs of the day were read whole.
CREATE VIEW coverage AS
WITH piece AS (
    SELECT *, max(last_minute) OVER (
            PARTITION BY server, direction, day ORDER BY first_minute, last_minute
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM covered
)
SELECT server, direction, day,
       sum(greatest(0, last_minute - greatest(first_minute, coalesce(reached, 0)))) AS minutes,
       bool_and(whole) AS whole, min(first_day) AS first_day, max(last_day) AS last_day
FROM piece GROUP BY server, direction, day;

-- The days that figures are averaged over. A log of several days says nothing of one of them.
CREATE VIEW covered_day AS
SELECT server, direction, day FROM coverage
WHERE whole AND minutes = 1440 AND first_day = last_day;

-- The eight bytes of a word, the other way round.
CREATE MACRO swapped(w) AS
    ((w & 255) << 56) | (((w >> 8) & 255) << 48) | (((w >> 16) & 255) << 40)
    | (((w >> 24) & 255) << 32) | (((w >> 32) & 255) << 24) | (((w >> 40) & 255) << 16)
    | (((w >> 48) & 255) << 8) | (w >> 56);

CREATE MACRO signed(w) AS
    (w::HUGEINT - CASE WHEN w > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END)::BIGINT;

-- transfer.entry of an entry of seen: its id's first eight bytes, the first one least significant,
-- mixed with its server, as the same block of two servers is two entries.
CREATE MACRO entry_number(server, entry) AS signed(xor(
    swapped((entry::UHUGEINT >> 64)::UBIGINT),
    ((server::HUGEINT * 2177342782468422677) % 18446744073709551616)::UBIGINT
));
