"""Statistics of a store: queries, coverage, rejected entries, charts."""
