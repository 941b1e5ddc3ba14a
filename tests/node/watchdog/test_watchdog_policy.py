"""What the watchdog concludes from made-up sights, and whom it kills."""

import os
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest

from node.control.config import WatchdogConfig
from node.control.run_directory import Beat, NodeProcess, start_ticks
from node.watchdog.policy import Account, Act, Policy, Sight
from node.watchdog.watch import kill

CONFIG = WatchdogConfig(hang_secs=10, start_secs=60, naked_secs=10, blind_polls=3, max_failures=3)
FINE = Account()


def process(pid=1):
    return NodeProcess(pid=pid, start_ticks=7, started=0, environment="venue")


def beat(**changes):
    values = {
        "pid": 1, "start_ticks": 7, "monotonic": 0, "wall_time": 0, "market_time": None, "phase": "running",
        "replay": False, "loop_lag_secs": 0.0, "feed_age_secs": 1.0,
    }  # fmt: skip
    return Beat(**(values | changes))


def sight(now, *, pid=1, alive=True, account=None, beat_age=0.1, age=100.0, **changes):
    return Sight(now, process(pid), alive, age, beat(**changes), beat_age, account)


def acts(found):
    return [(c.act, c.code) for c in found]


def test_a_healthy_node_is_left_alone():
    policy = Policy(CONFIG)
    assert [policy.judge(sight(float(t), account=FINE)) for t in range(100)] == [[]] * 100


def test_no_node_no_conclusion():
    assert Policy(CONFIG).judge(Sight(0.0, None, alive=False, account=FINE)) == []


@pytest.mark.parametrize(("silence", "killed"), [(9.9, False), (10.1, True)])
def test_a_hang_kills_once(silence, killed):
    policy = Policy(CONFIG)
    found = policy.judge(sight(0.0, beat_age=silence))
    assert acts(found) == ([(Act.KILL_NODE, "node_hangs")] if killed else [])
    assert policy.judge(sight(1.0, beat_age=silence + 1, alive=False)) == [] or not killed


def test_a_node_that_starts_has_more_time():
    policy = Policy(CONFIG)
    assert policy.judge(sight(0.0, phase="starting", beat_age=59.0)) == []
    assert policy.judge(Sight(0.0, process(2), alive=True, process_age=59.0)) == []
    assert acts(policy.judge(Sight(2.0, process(2), alive=True, process_age=61.0))) == [(Act.KILL_NODE, "node_hangs")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"feed_age_secs": 59.0}, None), ({"feed_age_secs": 61.0}, "feed_stale"), ({"feed_age_secs": None}, None),
     ({"feed_age_secs": 900.0, "replay": True}, None)],
)  # fmt: skip
def test_a_silent_market_restarts_the_node_unless_it_is_a_replay(changes, code):
    assert acts(Policy(CONFIG).judge(sight(0.0, **changes))) == ([(Act.KILL_NODE, code)] if code else [])


def test_loop_lag_is_told_once_per_occurrence():
    policy = Policy(CONFIG)
    lags = [0.0, 2.0, 2.0, 0.1, 2.0]
    assert [acts(policy.judge(sight(float(i), loop_lag_secs=lag))) for i, lag in enumerate(lags)] == [
        [], [(Act.REPORT, "loop_lag")], [], [], [(Act.REPORT, "loop_lag")],
    ]  # fmt: skip


def test_the_third_failure_within_the_window_flattens():
    policy = Policy(CONFIG)
    assert acts(policy.judge(sight(0.0, pid=1, alive=False))) == [(Act.REPORT, "node_died")]
    assert policy.judge(sight(1.0, pid=1, alive=False)) == []
    assert acts(policy.judge(sight(100.0, pid=2, beat_age=11.0))) == [(Act.KILL_NODE, "node_hangs")]
    assert acts(policy.judge(sight(599.0, pid=3, alive=False))) == [
        (Act.REPORT, "node_died"),
        (Act.GIVE_UP, "watchdog_gave_up"),
    ]
    assert acts(policy.judge(sight(600.0, pid=4, alive=False))) == [(Act.REPORT, "node_died")]


def test_failures_far_apart_do_not_add_up():
    policy = Policy(CONFIG)
    found = [acts(policy.judge(sight(t * 301.0, pid=t, alive=False))) for t in range(1, 20)]
    assert all(f == [(Act.REPORT, "node_died")] for f in found)


def test_naked_is_told_at_once_closed_after_patience_and_tried_again():
    policy = Policy(CONFIG)
    naked = Account(naked={"XRPUSDT": Decimal(5)})
    assert acts(policy.judge(sight(0.0, account=naked))) == [(Act.REPORT, "naked_seen")]
    assert policy.judge(sight(9.0, account=naked)) == []
    (close,) = policy.judge(sight(10.0, account=naked))
    assert (close.act, close.symbol) == (Act.CLOSE, "XRPUSDT")
    assert policy.judge(sight(15.0, account=naked)) == []
    assert acts(policy.judge(sight(20.0, account=naked))) == [(Act.CLOSE, "naked_closed")]


def test_naked_again_after_cover_starts_anew():
    policy = Policy(CONFIG)
    naked = Account(naked={"XRPUSDT": Decimal(5)})
    policy.judge(sight(0.0, account=naked))
    assert policy.judge(sight(9.0, account=FINE)) == []
    assert acts(policy.judge(sight(11.0, account=naked))) == [(Act.REPORT, "naked_seen")]


def test_a_failed_look_neither_clears_nor_closes():
    policy = Policy(CONFIG)
    policy.judge(sight(0.0, account=Account(naked={"XRPUSDT": Decimal(5)})))
    assert policy.judge(sight(11.0, account=Account(error="x"))) == []
    assert acts(policy.judge(sight(12.0, account=Account(naked={"XRPUSDT": Decimal(5)})))) == [
        (Act.CLOSE, "naked_closed")
    ]


def test_blindness_is_told_and_so_is_its_end():
    policy = Policy(CONFIG)
    looks = [Account(error="x")] * 5 + [FINE, FINE]
    assert [acts(policy.judge(sight(float(i), account=a))) for i, a in enumerate(looks)] == [
        [], [], [(Act.REPORT, "watchdog_blind")], [], [], [(Act.REPORT, "watchdog_sees")], [],
    ]  # fmt: skip


def test_a_clock_that_is_off_pauses_once():
    policy = Policy(CONFIG)
    looks = [Account(offset_ms=999), Account(offset_ms=-1001), Account(offset_ms=-1500), FINE, Account(offset_ms=5000)]
    assert [acts(policy.judge(sight(float(i), account=a))) for i, a in enumerate(looks)] == [
        [], [(Act.PAUSE, "clock_offset")], [], [], [(Act.PAUSE, "clock_offset")],
    ]  # fmt: skip


def test_only_the_very_process_is_killed():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ticks = start_ticks(child.pid)
    assert ticks is not None
    mine = NodeProcess(pid=child.pid, start_ticks=ticks, started=0, environment="venue")
    try:
        assert not kill(msgspec.structs.replace(mine, start_ticks=ticks - 1))  # the id was used again
        assert child.poll() is None
        assert kill(mine)
        assert child.wait(10) == -9
    finally:
        child.kill()
        child.wait()
    assert not kill(mine)
    assert not mine.alive()
    assert start_ticks(os.getpid()) is not None
