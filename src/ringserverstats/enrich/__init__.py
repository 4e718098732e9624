"""What is known of a client and of a stream, looked up once per unique value."""
