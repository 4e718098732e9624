"""``make dashboards``: writes the dashboards, the alert rules, and the one that is imported."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import alerts
import boards

ROOT = Path(__file__).parents[2]
FOLDERS = {boards.POSTGRESQL: "postgresql", boards.INFLUXDB: "influxdb"}


def files() -> dict[Path, str]:
    """The text of each file that is made."""
    made = {}
    for source, folder in FOLDERS.items():
        for board in boards.BOARDS:
            path = ROOT / "grafana" / "dashboards" / folder / f"{board.uid}.json"
            made[path] = _json(boards.build(board, source))
    overview = boards.build(boards.OVERVIEW, boards.POSTGRESQL, alone=True)
    overview.uid = None  # Grafana gives it one, where those of the folder are there already
    made[ROOT / "grafana-dashboard.json"] = _json(overview)
    made[ROOT / "grafana" / "provisioning" / "alerting" / "ringserverstats.json"] = _json(
        alerts.rules()
    )
    return made


def _json(thing: object) -> str:
    return json.dumps(thing, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
