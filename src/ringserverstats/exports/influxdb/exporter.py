"""Days that changed go on to InfluxDB; what it does not take stays due, and goes out later."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from ringserverstats.errors import ExportError, StoreError
from ringserverstats.exports.influxdb.client import InfluxDB
from ringserverstats.exports.influxdb.points import NOTHING, Points, Rules, points_of
from ringserverstats.store.base import PendingDay, Readable, Store
from ringserverstats.store.export_queue import due, pending_export
from ringserverstats.store.rollups import month_of
from ringserverstats.store.snapshot import snapshot

_DAYS = """
SELECT DISTINCT day FROM connection_by_day
 WHERE day >= coalesce($1::date, '1970-01-02') AND day <= coalesce($2::date, '9999-12-31')
 ORDER BY day
"""
_VERSION = "SELECT coalesce(max(version), 0) AS version FROM day_version WHERE day = $1::date"
_ONE_DAY = timedelta(days=1)
Progress = Callable[[int, int], None]


@dataclass
class ExportReport:
    """What went out.

    Args:
        days: that were given whole, and ``points`` of them.
        points: see ``days``.
        left: days that are due still.
        problems: what did not go out, and why.
    """

    days: int = 0
    points: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class InfluxExporter:
    """An InfluxDB that a store's days go on to, and what of clients it is told."""

    database: InfluxDB
    rules: Rules

    def begin(self, store: Store, *, is_new: bool = False) -> str:
        """Let days that change from now on go there; to be called before any is changed.

        Args:
            store: which is there.
            is_new: it was made just now, so that all of its days go there.

        Returns:
            What the user should know: days of before go there by `export_range` alone.
        """
        definition = f"{self.rules.definition} {self.database.definition}".strip()
        began = store.register_exporter(self.database.name, definition, all_due=is_new)
        if not began or is_new or not len(store.ask(_DAYS, [None, None])):
            return ""
        return (
            f"{self.database.name} gets the days that change from now on; for those that are in "
            "the store already: ringserverstats export influxdb"
        )

    def due(self, store: Readable) -> list[PendingDay]:
        """The days that have to go there."""
        return due(store.ask, self.database.name)

    def export_pending(self, store: Store, *, progress: Progress = lambda *_: None) -> ExportReport:
        """Give it the days that changed until now; who does the same meanwhile is waited for."""
        sent = ExportReport()
        with store.sending():
            days = self.due(store)
            sent.left = len(days)
            try:
                for number, one in enumerate(days):
                    progress(number, len(days))
                    if self._give(store, one.day, sent, is_cleared=one.corrected):
                        sent.left -= 1
                self._export_months(store)
            except ExportError as error:
                later = f"; {sent.left:,} days are to go there later" if sent.left else ""
                sent.problems.append(f"{error}{later}")
        return sent

    def export_range(
        self,
        store: Store,
        first: date | None,
        last: date | None,
        *,
        progress: Progress = lambda *_: None,
    ) -> ExportReport:
        """Let it have of these days what ``store`` has, and nothing else.

        Args:
            store: the store.
            first: None is the first day of the store, of ``last`` the last one.
            last: see ``first``.
            progress: called with the days done and to do.

        Raises:
            ExportError: it cannot be reached.
        """
        sent = ExportReport()
        self.begin(store)
        with store.sending():
            days: list[date] = store.ask(_DAYS, [first, last])["day"].to_pylist()
            begin, last = first or min(days, default=last), last or max(days, default=first)
            if begin is None or last is None:
                return sent  # the store is empty, and no period was told
            store.mark_unexported(self.database.name, begin, last)  # a kill may come at any moment
            for number, day in enumerate(days):
                progress(number, len(days))
                if begin < day:
                    self.database.delete(begin, day - _ONE_DAY)
                begin = day + _ONE_DAY
                self._give(store, day, sent, is_cleared=True)
            if begin <= last:
                self.database.delete(begin, last)
            self._export_months(store)
        return sent

    def _give(self, store: Store, day: date, sent: ExportReport, *, is_cleared: bool) -> bool:
        """Give it a day as it is now; returns whether it took it whole.

        Args:
            store: the store.
            day: the day.
            sent: what went out is added to it.
            is_cleared: points that are there go first.

        Raises:
            ExportError: it is away.
        """
        is_kept = self.database.is_kept(day)
        try:
            with snapshot(store, limited=False) as state:
                version = int(state.ask(_VERSION, [day])["version"][0].as_py())
                points = points_of(state, day, self.rules) if is_kept else NOTHING
        except StoreError as error:  # of this day; the others are to go out
            sent.problems.append(f"{day}: {error}")
            return False
        # Of older days no hours are known any more, whose points may be there.
        lost_hours = state.kept_since is not None and day < state.kept_since
        refused = self._write(day, points, is_cleared or lost_hours, sent)
        if refused:
            sent.problems.append(f"{day}: {refused[0]}")
            return False
        if points.too_large:
            sent.problems.append(
                f"{day}: {points.too_large} points are left out, whose sums are over 2^63-1"
            )
        store.mark_exported(self.database.name, day, version)
        sent.days += 1
        sent.points += points.count
        return True

    def _write(
        self, day: date, points: Points, is_cleared: bool, sent: ExportReport
    ) -> list[ExportError]:
        """Put the points of a day there; returns why some were refused."""
        if is_cleared and not self.database.delete(day, day):
            sent.problems.append(
                f"{day}: {self.database.name} cannot take points away: it keeps those of "
                "clients, networks and servers that are called otherwise now"
            )
        refused = []
        for piece in points.lines:
            try:
                self.database.write(piece)
            except ExportError as error:
                if error.is_away:
                    raise
                refused.append(error)
        return refused

    def _export_months(self, store: Store) -> None:
        """Make the sums over longer times anew that days were given of."""
        for month in pending_export(store.ask, self.database.name):
            self.database.fill(month, month_of(month)[1])
            store.mark_months_complete(self.database.name, month)
