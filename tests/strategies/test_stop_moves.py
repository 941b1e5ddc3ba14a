"""Where a moving stop belongs: every level by hand."""

from decimal import Decimal

import msgspec
import pytest

from strategies.protection import ProtectionConfig
from strategies.protection_plan import BarTrailing, BreakEven, VenueTrailing
from strategies.stop_moves import StopMove, StopMoves

BAR = 60


def moves(bars, **config):
    made = StopMoves(ProtectionConfig(**config))
    for i, (high, low, close) in enumerate(bars):
        made.note_bar((i + 1) * BAR, high, low, close, BAR)
    return made


def ask(made, *, long=True, entry="100", first="98", stop=None, cycle=BAR):
    return made.move(
        long=long,
        entry=Decimal(entry),
        first_stop=Decimal(first),
        stop=Decimal(stop or first),
        cycle=cycle,
        tick=Decimal("0.1"),
    )


QUIET = (100.0, 100.0, 100.0)


def test_off_by_default_nothing_is_remembered_and_nothing_moves():
    made = moves([QUIET, (150.0, 100.0, 149.0)])
    assert not made.active
    assert ask(made) is None
    assert not made.out_of_time(0)


@pytest.mark.parametrize(
    ("long", "first", "bar", "moved"),
    [
        (True, "98", (101.9, 100.0, 101.0), None),  # 0.95 R of profit: not yet
        (True, "98", (102.0, 100.0, 101.0), StopMove(Decimal("100.1"), passed=False)),
        (True, "98", (102.0, 99.0, 100.0), StopMove(Decimal("100.1"), passed=True)),
        (False, "102", (100.0, 98.1, 99.0), None),
        (False, "102", (100.0, 98.0, 99.0), StopMove(Decimal("99.9"), passed=False)),
        (False, "102", (101.0, 98.0, 100.0), StopMove(Decimal("99.9"), passed=True)),
    ],
)
def test_break_even_at_one_r_covers_the_fees(long, first, bar, moved):
    made = moves([QUIET, bar], break_even=BreakEven(at_r=1.0, offset_bps=10))
    assert ask(made, long=long, first=first) == moved


def test_break_even_is_reached_once_and_never_taken_back():
    made = moves([QUIET, (104.0, 100.0, 101.0)], break_even=BreakEven())
    assert ask(made) == StopMove(Decimal("100.0"), passed=False)
    assert ask(made, stop="100.0") is None
    assert ask(made, stop="101.5") is None, "a stop never moves away from profit"


def test_trailing_in_r_follows_the_best_price_since_the_entry_only():
    bars = [(150.0, 100.0, 100.0), (101.0, 100.0, 101.0), (105.0, 101.0, 104.0), (104.5, 103.0, 103.5)]
    made = moves(bars, trailing=BarTrailing(distance=1.0))
    assert ask(made) == StopMove(Decimal("103.0"), passed=False), (
        "105 - 1 R of 2; the high before the entry does not count"
    )
    assert ask(made, stop="102.9") is None, "0.1 is less than the step of 0.1 R = 0.2"
    assert ask(made, stop="102.8") == StopMove(Decimal("103.0"), passed=False)


def test_trailing_of_a_short_position():
    made = moves([QUIET, (100.0, 95.0, 96.0)], trailing=BarTrailing(distance=1.0))
    assert ask(made, long=False, first="102") == StopMove(Decimal("97.0"), passed=False)


def test_trailing_waits_for_its_profit():
    made = moves([QUIET, (103.9, 100.0, 103.0)], trailing=BarTrailing(distance=0.5, activate_r=2.0))
    assert ask(made) is None
    made.note_bar(3 * BAR, 104.0, 103.5, 103.8, BAR)
    assert ask(made) == StopMove(Decimal("103.0"), passed=False)


def test_trailing_in_atr_is_the_plain_mean_of_true_ranges():
    bars = [QUIET, (101.0, 100.0, 101.0), (104.0, 102.0, 103.0)]
    made = moves(bars, trailing=BarTrailing(distance=1.0, unit="atr", atr_bars=2))
    # True ranges: 101 - 100 = 1 and 104 - 101 = 3 (gap from the close before): mean 2.
    assert ask(made) == StopMove(Decimal("102.0"), passed=False)
    assert ask(moves(bars[1:], trailing=BarTrailing(distance=1.0, unit="atr", atr_bars=2))) is None, "too few bars"


def test_the_better_of_break_even_and_trailing_counts():
    rules = {"break_even": BreakEven(), "trailing": BarTrailing(distance=3.0)}
    assert ask(moves([QUIET, (103.0, 100.0, 102.0)], **rules)) == StopMove(Decimal("100.0"), passed=False)
    assert ask(moves([QUIET, (110.0, 100.0, 109.0)], **rules)) == StopMove(Decimal("104.0"), passed=False)


def test_the_time_stop_counts_from_the_signals_bar():
    made = moves([QUIET] * 5, time_stop_bars=3)
    assert [made.out_of_time(cycle * BAR) for cycle in (1, 2, 3)] == [True, True, False]
    made.reset()
    assert not made.out_of_time(0)


def test_the_same_levels_after_a_restart_that_has_read_its_history():
    bars = [(100.0 + i % 7, 99.0 + i % 5, 99.5 + i % 5) for i in range(200)]
    rule = {"trailing": BarTrailing(distance=1.5, unit="atr", atr_bars=14)}
    long_life, restarted = moves(bars, **rule), StopMoves(ProtectionConfig(**rule))
    for i in range(150, 200):
        restarted.note_bar((i + 1) * BAR, *bars[i], BAR)
    assert ask(long_life, cycle=170 * BAR) == ask(restarted, cycle=170 * BAR) is not None


@pytest.mark.parametrize(
    "text",
    [
        b'{"trailing": {"by": "venue", "callback": 0.0015}}',
        b'{"trailing": {"by": "venue", "callback": 0.2}}',
        b'{"trailing": {"by": "bars", "distance": 0}}',
        b'{"trailing": {"by": "hand", "distance": 1}}',
        b'{"trailing": {"by": "bars", "distance": 1, "callback": 0.01}}',
        b'{"time_stop_bars": 0}',
        b'{"break_even": {"at_r": -1}}',
    ],
)
def test_impossible_options_are_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ProtectionConfig)


def test_options_survive_the_way_into_the_engine():
    config = ProtectionConfig(trailing=VenueTrailing(callback=0.013, activate_r=1), break_even=BreakEven())
    assert msgspec.json.decode(msgspec.json.encode(config), type=ProtectionConfig) == config
