#!/bin/sh
# Run once by the image of PostgreSQL, when its volume is empty: the roles beside the owner, who is
# $POSTGRES_USER. What writer and reader may do, `ringserverstats migrate` grants.
set -eu
psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
\getenv service SERVICE_PASSWORD
\getenv reader READER_PASSWORD
CREATE ROLE ringserverstats_writer NOLOGIN;
CREATE ROLE ringserverstats_reader LOGIN PASSWORD :'reader';
CREATE ROLE ringserverstats_service LOGIN PASSWORD :'service'
    IN ROLE ringserverstats_writer, ringserverstats_reader;
SQL
