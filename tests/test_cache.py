"""A cache computes each value once, and returns the previous one meanwhile."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ringserverstats.web import cache
from ringserverstats.web.cache import Cache


class Slow:
    """A computation that ends when it is allowed to."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.may_end.wait(10)
        return self._value


def never() -> str:
    raise AssertionError("is cached")


def _begun(pool: ThreadPoolExecutor, values: Cache[str], version: str) -> tuple[Slow, Future[str]]:
    slow = Slow(version)
    future = pool.submit(values.get, "page", version, slow)
    assert slow.began.wait(10)
    return slow, future


def test_a_value_is_computed_once_for_each_version() -> None:
    values = Cache[str](2)
    assert values.get("page", "1", lambda: "one") == "one"
    assert values.get("page", "1", never) == "one"
    assert values.get("page", "2", lambda: "two") == "two"
    assert values.get("other", "1", lambda: "three") == "three"
    assert values.get("last", "1", lambda: "four") == "four"
    assert values.get("page", "2", lambda: "computed again: two are kept") != "two"


def test_others_get_the_previous_value_meanwhile() -> None:
    values = Cache[str](2)
    values.get("page", "1", lambda: "1")
    with ThreadPoolExecutor() as pool:
        slow, future = _begun(pool, values, "2")
        assert values.get("page", "2", never) == "1"
        slow.may_end.set()
        assert future.result() == "2"
    assert values.get("page", "2", never) == "2"


def test_others_wait_if_there_is_no_recent_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    values = Cache[str](2)
    values.get("page", "1", lambda: "1")
    with ThreadPoolExecutor() as pool:
        slow, future = _begun(pool, values, "2")
        waiting = pool.submit(values.get, "page", "2", never)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        slow.may_end.set()
        assert (future.result(), waiting.result()) == ("2", "2")


def test_waiting_threads_take_a_value_newer_than_their_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each of many readers would make the state of the store that it saw."""
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    values = Cache[str](2)
    with ThreadPoolExecutor() as pool:
        slow, _ = _begun(pool, values, "1")
        computed = list[str]()

        def make(version: str) -> Callable[[], str]:
            return lambda: computed.append(version) or version

        waiting = [pool.submit(values.get, "page", str(n), make(str(n))) for n in range(2, 6)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(0.1)
        slow.may_end.set()
        results = {one.result() for one in waiting}
    assert len(computed) == 1
    assert results == {*computed}


def test_a_failed_computation_is_repeated() -> None:
    values = Cache[str](2)
    with pytest.raises(ZeroDivisionError):
        values.get("page", "1", lambda: str(1 / 0))
    assert values.get("page", "1", lambda: "one") == "one"


def test_one_thread_at_a_time_computes_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, and whatever of it changes meanwhile."""
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    values = Cache[str](2)
    version, at_once, most, computed = [0], 0, 0, 0
    lock, end = threading.Lock(), time.monotonic() + 1

    def make() -> str:
        nonlocal at_once, most, computed
        with lock:
            at_once += 1
            most, computed = max(most, at_once), computed + 1
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return "value"

    def ask() -> None:
        while time.monotonic() < end:
            version[0] += 1
            values.get("page", str(version[0]), make)

    with ThreadPoolExecutor(10) as pool:
        for one in [pool.submit(ask) for _ in range(10)]:
            one.result()
    assert most == 1
    assert computed <= 25
    assert values._computations == {}
