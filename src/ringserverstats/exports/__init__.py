"""What leaves the store for other systems."""
