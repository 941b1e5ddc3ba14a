"""The moves scenarios are made of."""

import os
import resource
import signal
import time
from decimal import Decimal
from typing import Any

from strategies.order_ids import Leg, decode
from tests.faults.harness import Books, Run, closing_stops, covered, live_stops, net, orphans
from tests.faults.redis_server import RedisServer
from tests.faults.scenarios.scenario import Act
from tests.faults.verdicts import believed, fitting

ENTRY = {"method": "POST", "path": "/fapi/v1/order$"}
STOP = {"method": "POST", "path": "/fapi/v1/algoOrder$"}
RISK = {"method": "GET", "path": "/fapi/v[23]/positionRisk$"}
TRADES = {"method": "GET", "path": "/fapi/v1/userTrades$"}
UNANSWERED: dict[str, dict[str, Any]] = {
    "503 -1007": {"mode": "execute_then_fail", "status": 503, "code": -1007, "message": "Timeout waiting for response"},
    "504 html": {"mode": "execute_then_fail", "status": 504, "code": 0, "message": "<html>gateway</html>"},
    "reset": {"mode": "execute_then_close"},
}
"""Executed, and the answer says nothing."""
NO_ANSWERS = {"a page": "<html>welcome</html>", "empty": "", "cut": '{"orderId": 12', "an empty object": "{}"}
"""What comes with a status of 200 and is none."""


def in_order(books: Books) -> bool:
    """Every position covered, nothing of ours resting in a flat symbol."""
    return all(covered(books, s) for s in net(books)) and not orphans(books)


def told_wrong(where: dict[str, str], body: str, *, times: int = 1, mode: str = "fail") -> Act:
    """Have the next matching requests answered with a status of 200 and `body`."""
    return fault(where, mode=mode, status=200, code=0, message=body, times=times)


def control(action: str, **body: Any) -> Act:
    """Send a control action."""
    return lambda run: void(run.control(action, **body))


def fault(where: dict[str, str], **what: Any) -> Act:
    """Arm a fault of the next matching answers."""
    return control("fault", **where, **what)


def position(run: Run) -> None:
    """Go on to a protected position."""
    run.to_position()


def entry(run: Run) -> None:
    """Go on until an entry has been sent."""
    run.to_entry()


def step(count: int) -> Act:
    """Replay some bars."""
    return lambda run: run.step(count)


def stop_hit(*, gap: bool = False) -> Act:
    """Move the price through the stop and wait until the venue has closed the position."""

    def act(run: Run) -> None:
        run.trigger_stop(gap=gap)
        run.until(lambda b: run.symbol not in net(b), what="the stop to close the position")

    return act


def streams_back(run: Run) -> None:
    """Let streams in again; wait until the node is on both and knows what happened: the market would not wait."""
    run.control("accept")
    run.until(
        lambda s: bool(s["user_connections"] and s["market_connections"]), what="streams", path="session", secs=40
    )
    run.until(lambda b: believed(run) == net(b), what="the node to know its positions", secs=40)


def gap_read_back(run: Run) -> None:
    """Wait until the node has noticed that its account stream was away, and knows what happened."""
    run.until_told("USER_STREAM_GAP", 40)
    streams_back(run)


def protected(run: Run) -> None:
    """Wait until every position at the venue is covered in full, and no protective order is being replaced."""
    run.until(lambda b: all(covered(b, s) and fitting(b, s) for s in net(b)), what="all positions protected", secs=20)


def no_orders_of_the_flat(run: Run) -> None:
    """Wait until nothing of ours rests in a flat symbol."""
    run.until(lambda b: not orphans(b), what="orphans to be cancelled", secs=20)


def human(side: str, multiple: str, *, reduce_only: bool = False) -> Act:
    """Trade by hand: ``with`` or ``against`` the position, a multiple of its size."""

    def act(run: Run) -> None:
        run.hold()
        size = run.size
        buys = (size > 0) == (side == "with")
        quantity = abs(size) * Decimal(multiple)
        run.human(
            side="BUY" if buys else "SELL",
            quantity=str(quantity.quantize(size)),
            **({"reduceOnly": "true"} if reduce_only else {}),
        )

    return act


def human_cancels_the_stop(run: Run) -> None:
    """Cancel the stop by hand; another must come."""
    gone = {stop["algo_id"] for stop in closing_stops(run.hold(), run.symbol)}
    for number in gone:
        run.control("cancel", algo_id=number)
    run.until(lambda b: any(s["algo_id"] not in gone for s in closing_stops(b, run.symbol)), what="a new stop", secs=20)


def cancels_the_stop(run: Run) -> None:
    """Cancel the stops that close the position by hand, whoever would put others."""
    for stop in closing_stops(run.books(), run.symbol):
        run.control("cancel", algo_id=stop["algo_id"])


def still_open(run: Run) -> None:
    """Assert that the position was not closed, and gets a stop."""
    run.until(lambda b: run.symbol not in net(b) or covered(b, run.symbol), what="a stop", secs=20)
    assert run.size, f"seed {run.seed}: the position was closed: {run.log_tail()}"


def flat(run: Run) -> None:
    """Assert that the symbol of the scenario is flat."""
    run.until(lambda b: run.symbol not in net(b), what=f"{run.symbol} flat", secs=20)


def restart(run: Run) -> None:
    """kill -9 and start again."""
    run.restart()


def down(*acts: Act) -> Act:
    """kill -9, do something while no node runs, start again."""

    def act(run: Run) -> None:
        run.kill()
        for inner in acts:
            inner(run)
        run.start_node()

    return act


def freeze(secs: float) -> Act:
    """Freeze the venue in the middle of a stop-out; sockets stay up."""

    def act(run: Run) -> None:
        run.hold()
        run.control("freeze", secs=secs)
        run.trigger_stop(gap=True)
        run.until(lambda b: run.symbol not in net(b), what="the stop to close the position")

    return act


def refuses_to_start(where: dict[str, str], **what: Any) -> Act:
    """The next start must fail loudly, and the one after it must work."""

    def act(run: Run) -> None:
        run.kill()
        run.control("fault", **where, times=10_000, **what)
        run.start_node(wait=False)
        assert run.node is not None
        assert run.node.wait(120) != 0, f"seed {run.seed}: exit code 0 without having started"
        run.control("clear_faults")
        run.start_node()

    return act


def change_leverage(run: Run) -> None:
    """Change the leverage of the position's symbol by hand."""
    run.hold()
    run.control("leverage", symbol=run.symbol, leverage=7)


def void(_: Books) -> None:
    """Drop a result."""


def venue_dies(*acts: Act) -> Act:
    """kill -9 the venue under a running node, do something, start it again with its books, and the node after it."""

    def act(run: Run) -> None:
        run.crash_venue()
        for inner in acts:
            inner(run)
        run.start_venue()
        run.control("pause")
        run.start_node()

    return act


def keep_books(run: Run) -> None:
    """Let the venue write its books to a file."""
    run.keep_books = True


def told_soon(code: str, secs: float = 20.0) -> Act:
    """Wait until the node has recorded an incident."""
    return lambda run: run.until_told(code, secs)


def nothing_new(count: int) -> Act:
    """Replay some bars in which the node must open nothing."""

    def act(run: Run) -> None:
        before = _entries(run.books())
        run.step(count)
        sent = _entries(run.books()) - before
        assert not sent, f"seed {run.seed}: entries were sent: {sent}"

    return act


def _entries(books: Books) -> set[str]:
    """Client ids of the entries the venue has seen, executed or refused."""
    names = {o["client_order_id"] for o in books["orders"]} | {r["client_id"] or "" for r in books["rejects"]}
    return {name for name in names if (tag := decode(name)) is not None and tag.leg is Leg.ENTRY}


def node_stalled(secs: float, *acts: Act) -> Act:
    """Let the node's process stand still (SIGSTOP) while something is done, and `secs` longer."""

    def act(run: Run) -> None:
        run.hold()
        assert run.node is not None
        os.kill(run.node.pid, signal.SIGSTOP)
        try:
            for inner in acts:
                inner(run)
            time.sleep(secs)
        finally:
            os.kill(run.node.pid, signal.SIGCONT)

    return act


def told_to_flatten(run: Run) -> None:
    """Tell the node to pause and close everything, by SIGUSR2; wait until it has."""
    run.hold()
    assert run.node is not None
    os.kill(run.node.pid, signal.SIGUSR2)
    run.until(lambda b: not net(b), what="the venue to be flat", secs=30)


def piped_log(run: Run) -> None:
    """Let the node's log go through a pipe, as a service manager's does, not to the disk that will be full."""
    run.piped_log = True


def disk_full(run: Run) -> None:
    """Let the running node write nothing to files any more: no journal, no write-ahead file, no heartbeat."""
    assert run.node is not None
    resource.prlimit(run.node.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def disk_free(run: Run) -> None:
    """Give it room again."""
    assert run.node is not None
    resource.prlimit(run.node.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def symbol_control(action: str, **body: Any) -> Act:
    """Send a control action about the symbol of the position."""
    return lambda run: void(run.control(action, symbol=run.symbol, **body))


def human_stop(run: Run) -> None:
    """Replace our stop by a person's own for the whole position: it covers, so ours need not come back."""
    stops = closing_stops(run.hold(), run.symbol)
    stop = stops[-1]
    params = {"symbol": run.symbol, "side": stop["side"], "type": "STOP_MARKET", "triggerPrice": stop["trigger_price"]}
    run.control(
        "algo_order", params={**params, "algoType": "CONDITIONAL", "quantity": str(abs(run.size)), "reduceOnly": "true"}
    )
    known = {s["algo_id"] for s in stops}
    run.until(lambda b: any(s["algo_id"] not in known for s in live_stops(b, run.symbol)), what="the person's stop")
    for number in known:
        run.control("cancel", algo_id=number)


def cancel_all_of_ours(run: Run) -> None:
    """Cancel stop and target by hand, as the button "cancel all" does."""
    run.hold()
    for order in [a for a in run.books()["open_algo_orders"] if a["symbol"] == run.symbol]:
        run.control("cancel", algo_id=order["algo_id"])


def pause_secs(secs: float) -> Act:
    """Let wall time pass: an outage has a length."""
    return lambda _run: time.sleep(secs)


def close_everything(run: Run) -> None:
    """Close every position and cancel every order by hand."""
    for symbol, size in net(run.books()).items():
        side = "SELL" if size > 0 else "BUY"
        run.control("order", params={"symbol": symbol, "type": "MARKET", "side": side, "quantity": str(abs(size))})
    for order in run.books()["open_algo_orders"]:
        run.control("cancel", algo_id=order["algo_id"])


def refused_start(reason: str) -> Act:
    """The next start must end by itself with a code, say why, and have sent no order."""

    def act(run: Run) -> None:
        before = len(run.books()["orders"]) + len(run.books()["algo_orders"])
        run.start_node(wait=False)
        assert run.node is not None
        assert run.node.wait(60) != 0, f"seed {run.seed}: exit code 0 without having started"
        assert reason in run.log_tail(), f"seed {run.seed}: {reason!r} is not in {run.log_tail()}"
        books = run.books()
        assert len(books["orders"]) + len(books["algo_orders"]) == before, f"seed {run.seed}: an order was sent"

    return act


def stop_is_refused(run: Run) -> None:
    """Move the price through the stop, whose order the venue then refuses."""
    stop = closing_stops(run.hold(), run.symbol)[0]
    run.trigger_stop()
    run.until(
        lambda b: any(a["algo_id"] == stop["algo_id"] and a["status"] == "REJECTED" for a in b["algo_orders"]),
        what="the venue to refuse the stop",
    )


def _redis(run: Run, *, start: bool) -> None:
    run.redis = RedisServer(run.directory, start=start)
    run.node_extra = {"redis": run.redis.tree}


def redis_present(run: Run) -> None:
    """Give the node a Redis."""
    _redis(run, start=True)


def redis_absent(run: Run) -> None:
    """Give the node the address of a Redis that is not there."""
    _redis(run, start=False)


def redis_killed(run: Run) -> None:
    """kill -9 of Redis."""
    assert run.redis is not None
    run.redis.kill()


def redis_started(run: Run) -> None:
    """Start Redis, empty."""
    assert run.redis is not None
    run.redis.start()


def redis_stalled(*acts: Act) -> Act:
    """Let Redis answer nothing meanwhile."""

    def act(run: Run) -> None:
        assert run.redis is not None
        run.redis.stall()
        try:
            for inner in acts:
                inner(run)
        finally:
            run.redis.go_on()

    return act
