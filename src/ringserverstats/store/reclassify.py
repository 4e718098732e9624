"""Apply changed rules to the clients in a store."""

from collections import Counter

import pyarrow as pa

from ringserverstats.enrich.rules import RuleInput, Rules
from ringserverstats.keys import Keys
from ringserverstats.store.base import Reclassified
from ringserverstats.store.session import Session
from ringserverstats.store.versions import days_of, raise_versions

_PROFILES = """
SELECT o.client_profile, o.client, coalesce(o.matched_rules, '') AS matched_rules, o.domain,
       a.name AS agent, o.auth_user AS "user", o.direction, o.organisation, o.class, o.institution,
       o.institution_source
  FROM client_profile o JOIN agent a ON a.agent = o.agent
 WHERE o.month IS NULL  -- profiles of pruned months have nothing that rules match
 ORDER BY o.client_profile
"""
_KEPT = ("matched_rules", "domain", "agent", "user", "direction", "organisation")
_UPDATE = """
UPDATE client_profile SET class = given.class, institution = given.institution,
       institution_source = given.institution_source
  FROM given WHERE given.client_profile = client_profile.client_profile
"""
_CLASSIFIED = pa.schema(
    [
        ("client_profile", pa.int64()),
        ("class", pa.string()),
        ("institution", pa.string()),
        ("institution_source", pa.string()),
    ]
)


def reclassify(session: Session, rules: Rules, keys: Keys) -> Reclassified:
    """Apply ``rules`` to the client profiles, except of pruned months; return the changes."""
    rules = rules.in_pseudonyms(keys.users)
    classes, moved = set[tuple[str, int]](), set[tuple[str, str, int]]()
    institutions, matched = set[int](), set[str]()
    changed: list[tuple[object, ...]] = []
    for row in session.table(_PROFILES).to_pylist():
        kept = RuleInput(**{name: row[name] for name in _KEPT})
        matched |= {rule.name for rule in rules.rules if rule.matched_address(kept)}
        after = (rules.class_of(kept), *rules.institution_of(kept))
        before = tuple(row[name] for name in _CLASSIFIED.names[1:])
        classes.add((after[0], row["client"]))
        if after == before:
            continue
        changed.append((row["client_profile"], *after))
        if after[0] != before[0]:
            moved.add((before[0], after[0], row["client"]))
        if after[1:] != before[1:]:
            institutions.add(row["client"])
    if changed:
        columns = list(zip(*changed, strict=True))
        session.register("given", pa.table(columns, schema=_CLASSIFIED))
        session.execute(_UPDATE)
        days = days_of(session, "f.client_profile IN (SELECT client_profile FROM given)")
        raise_versions(session, days, corrects=True)
    return Reclassified(
        Counter(name for name, _ in classes),
        Counter((old, new) for old, new, _ in moved),
        len(institutions),
        [rule.name for rule in rules.rules if rule.is_of_address and rule.name not in matched],
    )
