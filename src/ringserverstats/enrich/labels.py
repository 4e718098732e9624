"""Values of the store for what is unknown, and for the source of an institution."""

#: Unknown location, network operator or institution.
UNKNOWN = "unknown"
#: Location of private, loopback and documentation addresses.
PRIVATE_NETWORK = "private network"
#: Class of a client that no rule matches.
EXTERNAL = "external"
#: Source of an institution.
BY_RULE, BY_DOMAIN, BY_OPERATOR = "rules", "domain", "network operator"
