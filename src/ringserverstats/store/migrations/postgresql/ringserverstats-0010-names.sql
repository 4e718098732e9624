-- The final names of tables and columns, before the first release.
-- depends: ringserverstats-0009-origins-of-streams

ALTER TABLE seen RENAME TO entry_ledger;
ALTER TABLE covered RENAME TO log_interval;
ALTER TABLE log_interval RENAME whole TO complete;
ALTER TABLE imported RENAME TO imported_day;
ALTER TABLE pruned RENAME TO pruned_month;
ALTER TABLE pruned_month RENAME late TO has_late_logs;
ALTER TABLE network_on RENAME TO network_period;
ALTER TABLE network_period RENAME is_near TO is_nearest;
ALTER TABLE store RENAME untidy TO vacuum_pending;
ALTER TABLE store RENAME is_one TO singleton;
ALTER TABLE server RENAME former TO former_names;
ALTER TABLE token RENAME made TO created;
ALTER TABLE day_version RENAME number TO version;

ALTER TABLE outlet RENAME TO exporter;
ALTER TABLE exporter RENAME outlet TO exporter;
ALTER TABLE exporter RENAME shape TO definition;
ALTER TABLE exporter RENAME clears TO clear_first;
ALTER TABLE sent RENAME TO exported_day;
ALTER TABLE exported_day RENAME outlet TO exporter;
ALTER TABLE exported_day RENAME number TO version;
ALTER TABLE to_sum_up RENAME TO pending_export;
ALTER TABLE pending_export RENAME outlet TO exporter;

ALTER TABLE origin RENAME TO client_profile;
ALTER TABLE client_profile RENAME origin TO client_profile;
ALTER TABLE client_profile RENAME matched TO matched_rules;
ALTER TABLE client_profile RENAME place_source TO location_source;
ALTER TABLE client_profile RENAME institution_from TO institution_source;

ALTER TABLE transfer_packed RENAME origin TO client_profile;
ALTER TABLE by_day_packed RENAME origin TO client_profile;
ALTER TABLE by_month_packed RENAME origin TO client_profile;
ALTER TABLE station_by_day_packed RENAME origin TO client_profile;
ALTER TABLE station_by_month_packed RENAME origin TO client_profile;
ALTER TABLE network_by_day_packed RENAME origin TO client_profile;
ALTER TABLE connection_by_day RENAME origin TO client_profile;
ALTER TABLE hour_by_day RENAME origin TO client_profile;
DO $do$ BEGIN
    IF to_regclass('transfer_hypertable') IS NOT NULL THEN
        ALTER TABLE transfer_hypertable RENAME origin TO client_profile;
    END IF;
END $do$;

-- Views keep the names of their own columns.
ALTER VIEW transfer RENAME origin TO client_profile;
ALTER VIEW by_day RENAME origin TO client_profile;
ALTER VIEW by_month RENAME origin TO client_profile;
ALTER VIEW station_by_day RENAME origin TO client_profile;
ALTER VIEW station_by_month RENAME origin TO client_profile;
ALTER VIEW network_by_day RENAME origin TO client_profile;
ALTER VIEW logged_transfer RENAME origin TO client_profile;
ALTER VIEW coverage RENAME whole TO complete;
ALTER VIEW covered_day RENAME TO complete_day;

ALTER TYPE station_origin RENAME TO station_profile;
ALTER TYPE station_profile RENAME ATTRIBUTE origin TO client_profile;
ALTER TYPE stream_origin RENAME TO stream_profile;
ALTER TYPE stream_profile RENAME ATTRIBUTE origin TO client_profile;
ALTER FUNCTION station_origins_by_day RENAME TO station_profiles_by_day;
ALTER FUNCTION station_origins_by_month RENAME TO station_profiles_by_month;
ALTER FUNCTION stream_origins_by_day RENAME TO stream_profiles_by_day;
ALTER FUNCTION stream_origins_by_month RENAME TO stream_profiles_by_month;
