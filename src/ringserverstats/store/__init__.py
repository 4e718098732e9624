"""What is kept: each entry counted once, and the sums of them."""
