"""The embedded store: one DuckDB file."""
