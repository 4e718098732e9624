"""Days that changed go on to InfluxDB; what it does not take stays due, and goes out later."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from ringserverstats.errors import OutletError
from ringserverstats.outlets.influxdb import InfluxDB
from ringserverstats.outlets.points import Points, Rules, points_of
from ringserverstats.store.base import Due, Store
from ringserverstats.store.outlets import due
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
    """What went out: days and points; ``problems`` say what did not, and why."""

    touched: set[date] = field(default_factory=set)
    points: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outlet:
    """An InfluxDB that a store's days go on to, and what of clients it is told."""

    database: InfluxDB
    rules: Rules

    def begin(self, store: Store) -> str:
        """Let days that change from now on go there; to be called before any is changed.

        Returns:
            What the user should know: days of before go there by `send_range` alone.
        """
        if not store.exists() or not store.begin_outlet(self.database.name, all_due=False):
            return ""
        if not len(store.ask(_DAYS, [None, None])):
            return ""
        return (
            f"{self.database.name} gets the days that change from now on; for those that are in "
            "the store already: ringserverstats export influxdb"
        )

    def send_due(self, store: Store, *, progress: Progress = lambda *_: None) -> Sent:
        """Give it the days that changed; who does the same meanwhile is waited for."""
        sent, done, left = Sent(), set[date](), 0
        store.begin_outlet(self.database.name, all_due=True)  # of a store that is new itself
        with store.sending():
            try:
                while True:
                    with snapshot(store) as state:
                        days = due(state.ask, self.database.name)
                        days = [one for one in days if one.day not in done]
                        left = len(days)
                        progress(len(done), len(done) + left)
                        if not days:
                            break
                        points = points_of(state, days[0].day, self.rules)
                    if not self._give(store, days[0], points, sent):
                        done.add(days[0].day)
                for month in sorted({day.replace(day=1) for day in sent.touched}):
                    self.database.fill(month, month_of(month)[1])
            except OutletError as error:
                later = f"; {left} days are to go there later" if left else ""
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
            first: None is the first day of the store, of ``last`` the last one.
            last: see ``first``.
            progress: called with the days done and to do.

        Raises:
            OutletError: it cannot be reached.
        """
        sent = Sent()
        days: list[date] = store.ask(_DAYS, [first, last])["day"].to_pylist()
        if not days:
            return sent
        store.begin_outlet(self.database.name, all_due=False)
        first, last = first or days[0], last or days[-1]
        begin = first
        with store.sending():
            for number, day in enumerate(days):
                progress(number, len(days))
                if begin < day:
                    self.database.delete(begin, day - _ONE_DAY)
                begin = day + _ONE_DAY
                with snapshot(store) as state:
                    changes = state.ask(_NUMBER, [day])["number"][0].as_py()
                    points = points_of(state, day, self.rules)
                self._give(store, Due(day, changes, corrected=True), points, sent)
            if begin <= last:
                self.database.delete(begin, last)
            self.database.fill(first, last)
            progress(len(days), len(days))
        return sent

    def _give(self, store: Store, one: Due, points: Points, sent: Sent) -> bool:
        """Give it a day; returns whether it took it whole.

        Raises:
            OutletError: it is away.
        """
        day, lines = one.day, points.lines if self.database.is_kept(one.day) else ()
        try:
            if one.corrected and not self.database.delete(day, day):
                sent.problems.append(
                    f"{day}: {self.database.name} cannot take points away: it keeps those of "
                    "clients, networks and servers that are called otherwise now"
                )
            for piece in lines:
                self.database.write(piece)
        except OutletError as error:
            if error.is_away:
                raise
            sent.problems.append(f"{day}: {error}")
            return False
        if points.too_large:
            sent.problems.append(
                f"{day}: {points.too_large} points are left out, whose sums are over 2^63-1"
            )
        store.note_sent(self.database.name, one)
        sent.touched.add(day)
        sent.points += points.count
        return True
