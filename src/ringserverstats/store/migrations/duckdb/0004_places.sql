-- Where clients are, whose they are, and what they are to the centre.

-- Of origins that were read before, nothing of it is known.
ALTER TABLE origin ADD COLUMN direction VARCHAR;
ALTER TABLE origin ADD COLUMN country VARCHAR;
ALTER TABLE origin ADD COLUMN country_name VARCHAR;
ALTER TABLE origin ADD COLUMN city VARCHAR;
ALTER TABLE origin ADD COLUMN latitude DOUBLE;
ALTER TABLE origin ADD COLUMN longitude DOUBLE;
ALTER TABLE origin ADD COLUMN geohash VARCHAR;
ALTER TABLE origin ADD COLUMN asn BIGINT;
ALTER TABLE origin ADD COLUMN organisation VARCHAR;
ALTER TABLE origin ADD COLUMN place_source VARCHAR;
ALTER TABLE origin ADD COLUMN domain VARCHAR;
ALTER TABLE origin ADD COLUMN matched VARCHAR;
ALTER TABLE origin ADD COLUMN class VARCHAR DEFAULT 'external';
ALTER TABLE origin ADD COLUMN institution VARCHAR;
ALTER TABLE origin ADD COLUMN institution_from VARCHAR;
