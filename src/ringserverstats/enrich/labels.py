"""Words that stand in the store for what is not known, and for what decides."""

#: Of places, operators and institutions.
UNKNOWN = "unknown"
#: The place of private, loopback and documentation addresses.
PRIVATE_NETWORK = "private network"
#: The class of whoever is in no rule.
EXTERNAL = "external"
#: Where an institution is known from.
BY_RULE, BY_DOMAIN, BY_OPERATOR = "rules", "domain", "network operator"
