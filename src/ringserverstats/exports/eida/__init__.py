"""Statistics in the format of EIDA's statistics service."""
