"""Export the days of a store to InfluxDB."""
