"""Statistics in the form that EIDA's statistics service takes."""
