"""Export days that changed to InfluxDB; days that fail stay pending and are exported later."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from ringserverstats.errors import ExportError, StoreError
from ringserverstats.exports.influxdb.client import InfluxDB
from ringserverstats.exports.influxdb.points import NO_POINTS, PointOptions, Points, points_of
from ringserverstats.store.base import PendingDay, Readable, Store
from ringserverstats.store.export_queue import day_state, due, pending_export
from ringserverstats.store.rollups import month_of
from ringserverstats.store.snapshot import snapshot

_DAYS = """
SELECT DISTINCT day FROM connection_by_day
 WHERE day >= coalesce($1::date, '1970-01-02') AND day <= coalesce($2::date, '9999-12-31')
 ORDER BY day
"""
_ONE_DAY = timedelta(days=1)
#: Called with the number of days done and to do.
Progress = Callable[[int, int], None]


@dataclass
class ExportReport:
    """What an export did.

    Args:
        days: how many days were exported completely.
        points: how many points these have.
        pending: how many days are still pending.
        problems: what failed, and why.
        months: the first days of the months of the exported days.
    """

    days: int = 0
    points: int = 0
    pending: int = 0
    problems: list[str] = field(default_factory=list)
    months: set[date] = field(default_factory=set)


@dataclass(frozen=True)
class InfluxExporter:
    """Exports the days of a store to ``database``."""

    database: InfluxDB
    options: PointOptions

    def register(self, store: Store, *, is_new: bool = False) -> str:
        """Let ``store`` record which days change from now on. Call this before changing any.

        Args:
            store: an existing store.
            is_new: the store was just created, so that all of its days are pending.

        Returns:
            A note for the user if earlier days are not exported by themselves, else an empty text.
        """
        definition = f"{self.options.definition} {self.database.definition}".strip()
        is_first = store.register_exporter(self.database.name, definition, all_due=is_new)
        if not is_first or is_new or not len(store.ask(_DAYS, [None, None])):
            return ""
        return (
            f"days that change from now on are exported to {self.database.name}. To export the "
            "days that the store already has: ringserverstats export influxdb"
        )

    def pending(self, store: Readable) -> list[PendingDay]:
        """Return the days to export, oldest first."""
        return due(store.ask, self.database.name)

    def export_pending(self, store: Store, *, progress: Progress = lambda *_: None) -> ExportReport:
        """Export the days that changed until now, after other exports have finished."""
        report = ExportReport()
        with store.sending():
            days = self.pending(store)
            report.pending = len(days)
            try:
                for number, pending in enumerate(days):
                    progress(number, len(days))
                    if self._export_day(store, pending.day, report, clear=pending.corrected):
                        report.pending -= 1
                self._export_months(store, report)
            except ExportError as error:
                later = f"; {report.pending:,} days stay pending" if report.pending else ""
                report.problems.append(f"{error}{later}")
        return report

    def export_range(
        self,
        store: Store,
        first: date | None,
        last: date | None,
        *,
        progress: Progress = lambda *_: None,
    ) -> ExportReport:
        """Replace the points of a period by those of ``store``.

        Args:
            store: an existing store.
            first: first day; None: that of the store.
            last: last day; None: that of the store.
            progress: called with the number of days done and to do.

        Raises:
            ExportError: InfluxDB cannot be reached.
        """
        report = ExportReport()
        self.register(store)
        with store.sending():
            days: list[date] = store.ask(_DAYS, [first, last])["day"].to_pylist()
            begin, last = first or min(days, default=last), last or max(days, default=first)
            if begin is None or last is None:
                return report  # the store is empty, and no period is given
            store.mark_unexported(self.database.name, begin, last)  # a kill may follow at any time
            for number, day in enumerate(days):
                progress(number, len(days))
                if begin < day:
                    self.database.delete(begin, day - _ONE_DAY)
                begin = day + _ONE_DAY
                self._export_day(store, day, report, clear=True)
            if begin <= last:
                self.database.delete(begin, last)
            self._export_months(store, report)
        return report

    def _export_day(self, store: Store, day: date, report: ExportReport, *, clear: bool) -> bool:
        """Export a day, add it to ``report``, and return whether it was exported completely.

        Args:
            store: the store.
            day: the day.
            report: gets the result.
            clear: delete the day's points first.

        Raises:
            ExportError: InfluxDB cannot be reached.
        """
        is_kept = self.database.is_kept(day)
        try:
            with snapshot(store, limited=False) as state:
                versions = day_state(state.ask, self.database.name, day)
                points = points_of(state, day, self.options) if is_kept else NO_POINTS
        except StoreError as error:  # other days may succeed
            report.problems.append(f"{day}: {error}")
            return False
        # Points by the hour may exist for days that have no hours now.
        lost_hours = state.kept_since is not None and day < state.kept_since
        if (clear or lost_hours) and not self.database.delete(day, day):
            report.problems.append(
                f"{day}: {self.database.name} cannot delete points. Points of renamed or deleted "
                "clients, networks and servers stay there."
            )
        refused = self._write(points)
        if refused:
            report.problems.append(f"{day}: {refused[0]}")
            return False
        if points.too_large:
            report.problems.append(
                f"{day}: {points.too_large} points with totals over 2^63-1 are left out"
            )
        report.months.add(day.replace(day=1))
        if not store.mark_exported(self.database.name, versions):
            return False
        report.days += 1
        report.points += points.count
        return True

    def _write(self, points: Points) -> list[ExportError]:
        """Write all batches of ``points`` and return why some were refused."""
        refused = []
        for lines in points.lines:
            try:
                self.database.write(lines)
            except ExportError as error:
                if error.is_away:
                    raise
                refused.append(error)
        return refused

    def _export_months(self, store: Store, report: ExportReport) -> None:
        """Rebuild the longer totals of months with exported days."""
        # Also those that another process has marked as complete meanwhile.
        months = {*pending_export(store.ask, self.database.name), *report.months}
        for month in sorted(months):
            self.database.rebuild_totals(month, month_of(month)[1])
            store.mark_months_complete(self.database.name, month)
