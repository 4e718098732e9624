"""What a ringserver wrote, as batches of columns."""
