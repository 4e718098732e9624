"""Values that ringserver writes. This module imports nothing, so that `--help` stays quick."""

#: Of a transfer: sent to the client, received from it.
DIRECTIONS = ("TX", "RX")
#: Of a connection; Unknown: it sent no command.
PROTOCOLS = ("Unknown", "DataLink", "SeedLink", "HTTP")
