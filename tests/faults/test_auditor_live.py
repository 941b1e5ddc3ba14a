"""
A whole node whose user stream loses what a person does: only the auditor can find out.

The invariants: never naked; the node's position is the venue's or entries stop and say why.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from node.journal import open_journal
from strategies.order_ids import decode
from tests.faults.harness import Run, covered, live_stops, net

AUDIT = {"audit": {"in_replay": True, "interval_secs": 0.25}}
REPAIR_SECS = 20.0
"""Two looks of 0.25 s, a look-up and a placement; many times that beside a busy suite."""


def _mute(run: Run) -> None:
    for event in ("ALGO_UPDATE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"):
        run.control("event_fault", event=event, mode="mute", times=5)


def _incidents(run: Run) -> list[str]:
    journal = open_journal(f"sqlite:///{run.directory / 'journal.sqlite'}", read_only=True)
    try:
        return [incident.code for incident in journal.incidents()]
    finally:
        journal.close()


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + REPAIR_SECS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(name="run")
def run_fixture(make_run: Callable[[int], Run]) -> Any:
    run = make_run(3)
    yield run
    run.close()


def test_a_stop_taken_away_unheard_is_placed_again_and_a_foreign_trade_stops_entries(run: Run) -> None:
    run.start(node=AUDIT)
    symbols = run.books()["positions"]
    # A page of 1500 candles, and one that tells that there are no more, however many strategies read them.
    assert run.requests()["GET /fapi/v1/klines"] <= 2 * len(symbols)
    books = run.to_position()
    stop = live_stops(books, run.symbol)[0]

    _mute(run)
    run.control("cancel", algo_id=stop["algo_id"])
    assert not covered(run.books(), run.symbol)
    run.control("clear_faults")
    found = run.until(lambda b: covered(b, run.symbol), what="another stop", secs=REPAIR_SECS)
    replaced = live_stops(found, run.symbol)
    assert len(replaced) == 1
    assert replaced[0]["trigger_price"] == stop["trigger_price"]
    assert replaced[0]["client_algo_id"] != stop["client_algo_id"]
    assert decode(replaced[0]["client_algo_id"]) is not None
    _until(lambda: "audit_missing_stop" in _incidents(run), "the journal says what was found")

    before = net(run.books())[run.symbol]
    _mute(run)
    run.human(side="BUY" if before > 0 else "SELL", quantity=str(abs(before)))
    run.until(lambda b: abs(net(b)[run.symbol]) == 2 * abs(before), what="the person's trade")
    run.control("clear_faults")
    _until(lambda: "audit_position_mismatch" in _incidents(run), "the difference is told")
    grown = run.until(lambda b: covered(b, run.symbol), what="a stop for the grown position", secs=REPAIR_SECS)
    assert sum(float(s["quantity"]) for s in live_stops(grown, run.symbol)) >= 2 * abs(float(before))
    _until(lambda: "ENTRIES_RELEASED" in _incidents(run), "entries go on when node and venue agree again")


def test_reconcile_by_hand_beside_a_running_node(run: Run) -> None:
    run.start()
    run.to_position()

    def reconcile(*options: str) -> tuple[int, str]:
        result = run.demo.run(
            "node.reconcile", "--config", str(run.demo.config), "--venue-url", run.venue_url, *options
        )
        return result.returncode, result.stdout + result.stderr

    code, text = reconcile()
    assert (code, text.startswith("no differences")) == (0, True), text

    stop = live_stops(run.books(), run.symbol)[0]
    price = str(stop["trigger_price"])
    side, kind = ("BUY", "LIMIT") if stop["side"] == "SELL" else ("SELL", "LIMIT")
    run.control(
        "order",
        params={
            "symbol": run.symbol,
            "side": side,
            "type": kind,
            "timeInForce": "GTC",
            "quantity": stop["quantity"],
            "price": price,
        },
    )
    code, text = reconcile("--dry-run", "--json")
    found = json.loads(text)
    assert code == 1, text
    assert found["clean"] is False
    assert [(d["kind"], d["harmless"]) for d in found["differences"]] == [("foreign_order", False)]
    assert found["differences"][0]["remedy"]

    missing = run.demo.run("node.reconcile", "--config", str(run.demo.config))
    assert missing.returncode == 2
    assert "--venue-url" in missing.stderr
