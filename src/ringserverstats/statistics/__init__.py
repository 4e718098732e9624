"""What can be asked of a store, and how it is answered."""
