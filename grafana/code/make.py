"""``make dashboards``: write the dashboards, the alert rules and the dashboard for imports."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import alerts
import boards

ROOT = Path(__file__).parents[2]
FOLDERS = {boards.POSTGRESQL: "postgresql", boards.INFLUXDB: "influxdb"}


def files() -> dict[Path, str]:
    """Return the text of each generated file."""
    texts = {}
    for source, folder in FOLDERS.items():
        for board in boards.BOARDS:
            path = ROOT / "grafana" / "dashboards" / folder / f"{board.uid}.json"
            texts[path] = _json(boards.build(board, source))
    overview = boards.build(boards.OVERVIEW, boards.POSTGRESQL, alone=True)
    overview.uid = None  # Grafana chooses one, as the provisioned dashboard may have the same
    texts[ROOT / "grafana-dashboard.json"] = _json(overview)
    rules = ROOT / "grafana" / "provisioning" / "alerting" / "ringserverstats.json"
    texts[rules] = _json(alerts.rules())
    return texts


def _json(value: object) -> str:
    return json.dumps(value, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
