"""Alert rules in the format of Grafana's provisioning."""

from typing import Any

import sql
from boards import POSTGRESQL

_DATABASE = "ringserverstats"  # the uid of the source in `provisioning/datasources`
_EVERY = "1h"
_DAYS_SILENT = 2
_USUAL = (0.2, 5.0)


def rules() -> dict[str, Any]:
    """Return the content of the file of rules."""
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
                        "{{ $labels.server }} has no entries for {{ $values.B.Value }} days. Check"
                        " that its logs arrive: ringserverstats coverage.",
                    ),
                    _rule(
                        "bytes-unusual",
                        "A day's bytes are unusual",
                        sql.UNUSUAL,
                        {"type": "outside_range", "params": [few, many]},
                        "The bytes of the last complete day of {{ $labels.server }} are"
                        " {{ $values.B.Value }} times the median of the 28 days before.",
                    ),
                    _rule(
                        "rejects",
                        "Log entries were rejected",
                        sql.REJECTED,
                        {"type": "gt", "params": [0]},
                        "{{ $values.B.Value }} log entries of {{ $labels.server }} were"
                        " rejected. List them: ringserverstats rejects.",
                    ),
                ],
            }
        ],
    }


def _rule(
    uid: str, title: str, query: str, evaluator: dict[str, Any], summary: str
) -> dict[str, Any]:
    """Return a rule: the rows of ``query`` (A), the last of each (B), which ones alert (C)."""
    rows = {
        "refId": "A",
        "datasource": {"type": POSTGRESQL, "uid": _DATABASE},
        "editorMode": "code",
        "format": "table",
        "rawQuery": True,
        "rawSql": query.strip(),
    }
    last = {"refId": "B", "type": "reduce", "expression": "A", "reducer": "last"}
    condition = {
        "refId": "C",
        "type": "threshold",
        "expression": "B",
        "conditions": [{"evaluator": evaluator}],
    }
    expression = {"datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0}}
    return {
        "uid": f"ringserverstats-{uid}",
        "title": title,
        "condition": "C",
        "for": "0s",
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {"program": "ringserverstats", "severity": "warning"},
        "annotations": {"summary": summary},
        "data": [
            {
                "refId": "A",
                "datasourceUid": _DATABASE,
                "relativeTimeRange": {"from": 3600, "to": 0},
                "model": rows,
            },
            {"refId": "B", **expression, "model": last},
            {"refId": "C", **expression, "model": condition},
        ],
    }
