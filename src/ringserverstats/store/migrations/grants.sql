-- What the roles ringserverstats_writer and ringserverstats_reader may do, where they are there.
-- The owner of the tables runs this with every `ringserverstats migrate`.

DO $do$
DECLARE
    name text;
    role text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'ringserverstats_writer') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO ringserverstats_writer', current_schema());
        GRANT SELECT, INSERT, UPDATE ON day_version, exporter TO ringserverstats_writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON exported_day, pending_export TO ringserverstats_writer;
        GRANT SELECT, INSERT, UPDATE ON store TO ringserverstats_writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON server, log_interval, reject TO ringserverstats_writer;
        GRANT SELECT, INSERT, DELETE ON registry, network_period TO ringserverstats_writer;
        GRANT SELECT, INSERT, UPDATE ON pruned_month TO ringserverstats_writer;
        GRANT SELECT, INSERT ON entry_ledger, stream, agent, client, client_profile, imported_day
            TO ringserverstats_writer;
        GRANT SELECT, INSERT, UPDATE ON by_day_packed, by_month_packed, station_by_day_packed,
            station_by_month_packed, station_total_by_day_packed, network_by_day_packed,
            connection_by_day, hour_by_day
            TO ringserverstats_writer;
        GRANT INSERT ON transfer_packed TO ringserverstats_writer;
        GRANT EXECUTE ON FUNCTION make_months(date, date) TO ringserverstats_writer;
        IF to_regclass('transfer_hypertable') IS NOT NULL THEN
            GRANT INSERT ON transfer_hypertable TO ringserverstats_writer;
        END IF;
    END IF;
    -- Who writes may read too: the web service does both.
    FOREACH role IN ARRAY ARRAY['ringserverstats_writer', 'ringserverstats_reader'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
        FOREACH name IN ARRAY ARRAY['migration', 'token', 'day_version', 'exporter', 'exported_day',
            'pending_export', 'store', 'server', 'entry_ledger', 'stream', 'agent', 'client_profile', 'transfer',
            'by_day', 'by_month', 'station_by_day',
            'station_by_month', 'station_total_by_day', 'network_by_day', 'connection_by_day',
            'hour_by_day', 'log_interval', 'coverage', 'complete_day', 'reject', 'imported_day', 'registry',
            'network_period', 'pruned_month', 'by_day_packed', 'by_month_packed', 'station_by_day_packed',
            'station_by_month_packed',
            'ringserver_events', 'transfers_by_day', 'transfers_by_month'] LOOP
            IF to_regclass(name) IS NOT NULL THEN  -- the last two are TimescaleDB's
                EXECUTE format('GRANT SELECT ON %I TO %I', name, role);
            END IF;
        END LOOP;
        -- Not the addresses and hosts that keep_hosts keeps.
        EXECUTE format('GRANT SELECT (client, pseudonym) ON client TO %I', role);
    END LOOP;
END $do$;
