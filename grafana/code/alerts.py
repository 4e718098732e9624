"""Alert rules as Grafana's provisioning reads them; how often they look, and when they tell."""

from typing import Any

import sql
from boards import POSTGRESQL

_DATABASE = "ringserverstats"  # the uid of the source in `provisioning/datasources`
_EVERY = "1h"
_DAYS_SILENT = 2
_USUAL = (0.2, 5.0)


def rules() -> dict[str, Any]:
    """The file of rules."""
    few, many = _USUAL
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": "ringserverstats",
                "folder": "ringserverstats",
                "interval": _EVERY,
                "rules": [
                    _rule(
                        "server-silent",
                        "No entries of a server",
                        sql.SILENT,
                        {"type": "gt", "params": [_DAYS_SILENT]},
                        "{{ $labels.server }} told nothing for {{ $values.B.Value }} days: do its"
                        " logs still come? See ringserverstats coverage.",
                    ),
                    _rule(
                        "bytes-unusual",
                        "A day's bytes are unusual",
                        sql.UNUSUAL,
                        {"type": "outside_range", "params": [few, many]},
                        "The last whole day of {{ $labels.server }} has {{ $values.B.Value }}"
                        " times what the median of the 28 days before has.",
                    ),
                    _rule(
                        "rejects",
                        "Logs were rejected",
                        sql.REJECTED,
                        {"type": "gt", "params": [0]},
                        "{{ $values.B.Value }} pieces of logs of {{ $labels.server }} were not"
                        " counted: see ringserverstats rejects.",
                    ),
                ],
            }
        ],
    }


def _rule(uid: str, title: str, query: str, evaluator: dict[str, Any], told: str) -> dict[str, Any]:
    """A rule: the rows of ``query`` (A), the last of each (B), and which are told (C)."""
    asked = {
        "refId": "A",
        "datasource": {"type": POSTGRESQL, "uid": _DATABASE},
        "editorMode": "code",
        "format": "table",
        "rawQuery": True,
        "rawSql": query.strip(),
    }
    reduced = {"refId": "B", "type": "reduce", "expression": "A", "reducer": "last"}
    judged = {
        "refId": "C",
        "type": "threshold",
        "expression": "B",
        "conditions": [{"evaluator": evaluator}],
    }
    own = {"datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0}}
    return {
        "uid": f"ringserverstats-{uid}",
        "title": title,
        "condition": "C",
        "for": "0s",
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {"program": "ringserverstats", "severity": "warning"},
        "annotations": {"summary": told},
        "data": [
            {
                "refId": "A",
                "datasourceUid": _DATABASE,
                "relativeTimeRange": {"from": 3600, "to": 0},
                "model": asked,
            },
            {"refId": "B", **own, "model": reduced},
            {"refId": "C", **own, "model": judged},
        ],
    }
