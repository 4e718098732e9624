"""What is told again, and what others are told while it is made anew."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ringserverstats.web import cache
from ringserverstats.web.cache import Cache


class Slow:
    """A value whose making waits until it may end."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.may_end.wait(10)
        return self._value


def never() -> str:
    raise AssertionError("is known")


def _begun(pool: ThreadPoolExecutor, known: Cache[str], version: str) -> tuple[Slow, Future[str]]:
    slow = Slow(version)
    told = pool.submit(known.get, "page", version, slow)
    assert slow.began.wait(10)
    return slow, told


def test_a_value_is_made_once_for_each_version() -> None:
    known = Cache[str](2)
    assert known.get("page", "1", lambda: "one") == "one"
    assert known.get("page", "1", never) == "one"
    assert known.get("page", "2", lambda: "two") == "two"
    assert known.get("other", "1", lambda: "three") == "three"
    assert known.get("last", "1", lambda: "four") == "four"
    assert known.get("page", "2", lambda: "made again: two are kept") != "two"


def test_others_are_told_what_held_until_now() -> None:
    known = Cache[str](2)
    known.get("page", "1", lambda: "1")
    with ThreadPoolExecutor() as pool:
        slow, told = _begun(pool, known, "2")
        assert known.get("page", "2", never) == "1"
        slow.may_end.set()
        assert told.result() == "2"
    assert known.get("page", "2", never) == "2"


def test_others_wait_where_nothing_held_until_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    known = Cache[str](2)
    known.get("page", "1", lambda: "1")
    with ThreadPoolExecutor() as pool:
        slow, told = _begun(pool, known, "2")
        waiting = pool.submit(known.get, "page", "2", never)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        slow.may_end.set()
        assert (told.result(), waiting.result()) == ("2", "2")


def test_who_waits_takes_what_is_newer_than_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of many readers would make the state of the store that it saw."""
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    known = Cache[str](2)
    with ThreadPoolExecutor() as pool:
        slow, _ = _begun(pool, known, "1")
        made = list[str]()

        def make(version: str) -> Callable[[], str]:
            return lambda: made.append(version) or version

        waiting = [pool.submit(known.get, "page", str(n), make(str(n))) for n in range(2, 6)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(0.1)
        slow.may_end.set()
        told = {one.result() for one in waiting}
    assert len(made) == 1
    assert told == {*made}


def test_what_fails_is_tried_again() -> None:
    known = Cache[str](2)
    with pytest.raises(ZeroDivisionError):
        known.get("page", "1", lambda: str(1 / 0))
    assert known.get("page", "1", lambda: "one") == "one"


def test_one_thread_at_a_time_makes_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, and whatever of it changes meanwhile."""
    monkeypatch.setattr(cache, "_MAX_STALENESS", 0.0)
    known = Cache[str](2)
    version, at_once, most, made = [0], 0, 0, 0
    lock, end = threading.Lock(), time.monotonic() + 1

    def make() -> str:
        nonlocal at_once, most, made
        with lock:
            at_once += 1
            most, made = max(most, at_once), made + 1
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return "value"

    def ask() -> None:
        while time.monotonic() < end:
            version[0] += 1
            known.get("page", str(version[0]), make)

    with ThreadPoolExecutor(10) as pool:
        for one in [pool.submit(ask) for _ in range(10)]:
            one.result()
    assert most == 1
    assert made <= 25
    assert known._computations == {}
