"""Usage logs of ringserver as batches of columns."""
