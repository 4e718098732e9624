"""Export statistics to other services."""
