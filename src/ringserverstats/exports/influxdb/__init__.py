"""Where days go on to after a commit."""
