"""Descriptions of clients and streams, looked up once per unique value."""
