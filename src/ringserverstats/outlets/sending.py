"""Days that changed go on to InfluxDB; what it does not take stays due, and goes out later."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from ringserverstats.errors import OutletError, StoreError
from ringserverstats.outlets.influxdb import InfluxDB
from ringserverstats.outlets.points import NOTHING, Points, Rules, points_of
from ringserverstats.store.base import Due, Readable, Store
from ringserverstats.store.outlets import due, to_sum_up
from ringserverstats.store.snapshot import snapshot
from ringserverstats.store.sums import month_of

_DAYS = """
SELECT DISTINCT day FROM connection_by_day
 WHERE day >= coalesce($1::date, '1970-01-02') AND day <= coalesce($2::date, '9999-12-31')
 ORDER BY day
"""
_NUMBER = "SELECT coalesce(max(number), 0) AS number FROM day_version WHERE day = $1::date"
_ONE_DAY = timedelta(days=1)
Progress = Callable[[int, int], None]


@dataclass
class Sent:
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
class Outlet:
    """An InfluxDB that a store's days go on to, and what of clients it is told."""

    database: InfluxDB
    rules: Rules

    def begin(self, store: Store, *, is_new: bool = False) -> str:
        """Let days that change from now on go there; to be called before any is changed.

        Args:
            store: which is there.
            is_new: it was made just now, so that all of its days go there.

        Returns:
            What the user should know: days of before go there by `send_range` alone.
        """
        shape = f"{self.rules.shape} {self.database.shape}".strip()
        began = store.begin_outlet(self.database.name, shape, all_due=is_new)
        if not began or is_new or not len(store.ask(_DAYS, [None, None])):
            return ""
        return (
            f"{self.database.name} gets the days that change from now on; for those that are in "
            "the store already: ringserverstats export influxdb"
        )

    def due(self, store: Readable) -> list[Due]:
        """The days that have to go there."""
        return due(store.ask, self.database.name)

    def send_due(self, store: Store, *, progress: Progress = lambda *_: None) -> Sent:
        """Give it the days that changed until now; who does the same meanwhile is waited for."""
        sent = Sent()
        with store.sending():
            days = self.due(store)
            sent.left = len(days)
            try:
                for number, one in enumerate(days):
                    progress(number, len(days))
                    if self._give(store, one.day, sent, is_cleared=one.corrected):
                        sent.left -= 1
                self._sum_up(store)
            except OutletError as error:
                later = f"; {sent.left:,} days are to go there later" if sent.left else ""
                sent.problems.append(f"{error}{later}")
        return sent

    def send_range(
        self,
        store: Store,
        first: date | None,
        last: date | None,
        *,
        progress: Progress = lambda *_: None,
    ) -> Sent:
        """Let it have of these days what ``store`` has, and nothing else.

        Args:
            store: the store.
            first: None is the first day of the store, of ``last`` the last one.
            last: see ``first``.
            progress: called with the days done and to do.

        Raises:
            OutletError: it cannot be reached.
        """
        sent = Sent()
        self.begin(store)
        with store.sending():
            days: list[date] = store.ask(_DAYS, [first, last])["day"].to_pylist()
            begin, last = first or min(days, default=last), last or max(days, default=first)
            if begin is None or last is None:
                return sent  # the store is empty, and no period was told
            store.note_unsent(self.database.name, begin, last)  # a kill may come at any moment
            for number, day in enumerate(days):
                progress(number, len(days))
                if begin < day:
                    self.database.delete(begin, day - _ONE_DAY)
                begin = day + _ONE_DAY
                self._give(store, day, sent, is_cleared=True)
            if begin <= last:
                self.database.delete(begin, last)
            self._sum_up(store)
        return sent

    def _give(self, store: Store, day: date, sent: Sent, *, is_cleared: bool) -> bool:
        """Give it a day as it is now; returns whether it took it whole.

        Args:
            store: the store.
            day: the day.
            sent: what went out is added to it.
            is_cleared: points that are there go first.

        Raises:
            OutletError: it is away.
        """
        is_kept = self.database.is_kept(day)
        try:
            with snapshot(store, limited=False) as state:
                number = int(state.ask(_NUMBER, [day])["number"][0].as_py())
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
        store.note_sent(self.database.name, day, number)
        sent.days += 1
        sent.points += points.count
        return True

    def _write(self, day: date, points: Points, is_cleared: bool, sent: Sent) -> list[OutletError]:
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
            except OutletError as error:
                if error.is_away:
                    raise
                refused.append(error)
        return refused

    def _sum_up(self, store: Store) -> None:
        """Make the sums over longer times anew that days were given of."""
        for month in to_sum_up(store.ask, self.database.name):
            self.database.fill(month, month_of(month)[1])
            store.note_summed_up(self.database.name, month)
