"""What clients are to the centre, and whose they are, by rules that have changed."""

from collections import Counter

import pyarrow as pa

from ringserverstats.enrich.rules import RuleInput, Rules
from ringserverstats.keys import Keys
from ringserverstats.store.base import Reclassified
from ringserverstats.store.session import Session
from ringserverstats.store.versions import days_of, raise_versions

_ORIGINS = """
SELECT o.client_profile, o.client, coalesce(o.matched_rules, '') AS matched_rules, o.domain, a.name AS agent,
       o.auth_user AS "user", o.direction, o.organisation, o.class, o.institution,
       o.institution_source
  FROM client_profile o JOIN agent a ON a.agent = o.agent
 WHERE o.month IS NULL  -- of pruned months nothing is kept that rules could look at
 ORDER BY o.client_profile
"""
_KEPT = ("matched_rules", "domain", "agent", "user", "direction", "organisation")
_CHANGE = """
UPDATE client_profile SET class = given.class, institution = given.institution,
       institution_source = given.institution_source
  FROM given WHERE given.client_profile = client_profile.client_profile
"""
_GIVEN = pa.schema(
    [
        ("client_profile", pa.int64()),
        ("class", pa.string()),
        ("institution", pa.string()),
        ("institution_source", pa.string()),
    ]
)


def reclassify(session: Session, rules: Rules, keys: Keys) -> Reclassified:
    """Let ``rules`` hold for all that is stored, as far as what is kept allows."""
    rules = rules.in_pseudonyms(keys.users)
    classes, moved = set[tuple[str, int]](), set[tuple[str, str, int]]()
    institutions, held = set[int](), set[str]()
    changed: list[tuple[object, ...]] = []
    for row in session.table(_ORIGINS).to_pylist():
        client = RuleInput(**{name: row[name] for name in _KEPT})
        held |= {rule.name for rule in rules.rules if rule.matched_address(client)}
        now = (rules.class_of(client), *rules.institution_of(client))
        before = tuple(row[name] for name in _GIVEN.names[1:])
        classes.add((now[0], row["client"]))
        if now == before:
            continue
        changed.append((row["client_profile"], *now))
        if now[0] != before[0]:
            moved.add((before[0], now[0], row["client"]))
        if now[1:] != before[1:]:
            institutions.add(row["client"])
    if changed:
        columns = list(zip(*changed, strict=True))
        session.register("given", pa.table(columns, schema=_GIVEN))
        session.execute(_CHANGE)
        days = days_of(session, "f.client_profile IN (SELECT client_profile FROM given)")
        raise_versions(session, days, corrects=True)
    return Reclassified(
        Counter(name for name, _ in classes),
        Counter((old, new) for old, new, _ in moved),
        len(institutions),
        [rule.name for rule in rules.rules if rule.is_of_address and rule.name not in held],
    )
