"""Days that were imported from release 0.17, within the transaction of the caller.

Imported history is of direction TX only, so entries of direction RX are always counted.
"""

from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.rows import Rows
from ringserverstats.errors import StoreError
from ringserverstats.logs.constants import DIRECTIONS
from ringserverstats.store.session import Session

_EPOCH = date(1970, 1, 1)
_DAYS = "SELECT s.server, i.day FROM server s LEFT JOIN imported_day i ON i.server = s.server"
#: Days of a server (``$1``) for which logs of direction TX were read.
LOGGED = """
SELECT DISTINCT s.day FROM (
    SELECT day FROM connection_by_day WHERE server = $1 AND direction = 'TX'
    UNION SELECT day FROM log_interval WHERE server = $1 AND direction = 'TX'
) s WHERE s.day NOT IN (SELECT day FROM imported_day WHERE server = $1)
"""


def imported_days(session: Session) -> dict[int, set[date]]:
    """Return the imported days of every server, by its number."""
    days: dict[int, set[date]] = {}
    for server, day in session.rows(_DAYS):
        days.setdefault(server, set()).update([day] if day else [])
    return days


def in_imported_days(rows: Rows, days: dict[int, set[date]]) -> npt.NDArray[np.bool_]:
    """Return which entries are of imported ``days``, except of days that ``rows`` import."""
    imported = {(server, day) for server, of_server in days.items() for day in of_server}
    own = (rows.imported_days[name].to_pylist() for name in ("server", "day"))
    imported -= set(zip(*own, strict=True))
    if not imported or not len(rows.entries):
        return np.zeros(len(rows.entries), np.bool_)
    server = rows.entries["server"].to_numpy().astype(np.int64)
    day = rows.entries["day"].cast(pa.int32()).to_numpy()
    keys = [number << 32 | (day_ - _EPOCH).days for number, day_ in imported]
    is_sent = pc.equal(rows.entries["direction"].cast(pa.string()), DIRECTIONS[0])
    result: npt.NDArray[np.bool_] = np.isin(server << 32 | day, keys) & is_sent.to_numpy()
    return result


def check_not_logged(session: Session, rows: Rows) -> None:
    """Make sure that no logs were read of the days that ``rows`` import.

    Raises:
        StoreError: logs of one were.
    """
    days = set(rows.imported_days["day"].to_pylist())
    for server in pc.unique(rows.imported_days["server"]).to_pylist():
        if days & {day for (day,) in session.rows(LOGGED, [server])}:
            raise StoreError(
                "logs of days to import were read meanwhile; nothing of this step was stored: run "
                "the same again, which leaves these days out"
            )
