"""The garbage collector runs between candles only, unless memory runs away."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from node import collector
from node.collector import IdleCollector

CLOSE = 1_757_000_700.0  # on a grid of 15 minutes


class Circle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(collector, "YOUNG", 0)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("after", [-1.9, 0.0, 4.9])
def test_nothing_is_collected_around_the_close_of_a_candle(after: float) -> None:
    garbage = weakref.ref(Circle())
    assert IdleCollector(900.0, wall=lambda: CLOSE + after).step() is None
    assert garbage() is not None


@pytest.mark.parametrize("after", [-2.1, 5.1, 400.0])
def test_garbage_goes_between_candles(after: float) -> None:
    garbage = weakref.ref(Circle())
    assert IdleCollector(900.0, wall=lambda: CLOSE + after).step() == 0
    assert garbage() is None


def test_a_replay_has_no_moment_to_wait_for() -> None:
    assert IdleCollector(None, wall=lambda: CLOSE).step() == 0


def test_a_flood_is_collected_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "FLOOD", 0)
    assert IdleCollector(900.0, wall=lambda: CLOSE).step() == 0


def test_older_generations_have_their_turn() -> None:
    now = CLOSE + 100.0
    made = IdleCollector(900.0, wall=lambda: now)
    found = [made.step() for _ in range(collector.OLDER_EVERY)]
    assert found == [0] * (collector.OLDER_EVERY - 1) + [1]
    now += collector.WHOLE_SECS
    assert made.step() == 2


async def test_the_automatic_collector_rests_meanwhile() -> None:
    gc.enable()
    made = IdleCollector(None)
    made.start()
    assert not gc.isenabled()
    made.stop()
    assert gc.isenabled()
