"""What the venue did while no node ran, against a real journal: nothing is missed, nothing is booked twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import catch_up
from node.catch_up import missed_fills, missed_funding
from node.journal import Journal, open_journal
from strategies.records import EquityRecord, FundingRecord

HOUR_MS = 3_600_000
SETTLED_MS = 1_756_713_600_000  # 2025-09-01T08:00Z
NOW_MS = SETTLED_MS + HOUR_MS
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")


class Venue:
    """Answers the income history, a page at a time."""

    def __init__(self, rows: list[tuple[str, str, int]]) -> None:
        self.rows = [
            {"symbol": s, "income": amount, "time": at, "incomeType": "FUNDING_FEE", "tranId": n, "asset": "USDT"}
            for n, (s, amount, at) in enumerate(rows, 1)
        ]
        self.asked = 0

    async def get(self, path: str, params: dict[str, Any], *, signed: bool) -> list[dict[str, Any]]:
        assert (path, signed, params["incomeType"]) == ("/fapi/v1/income", True, "FUNDING_FEE")
        self.asked += 1
        size = params["limit"]
        rows = [r for r in self.rows if r["time"] >= params["startTime"]]
        return rows[(params["page"] - 1) * size : params["page"] * size]


@pytest.fixture(name="journal")
def journal_fixture(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    begun = (SETTLED_MS - 3 * 24 * HOUR_MS) * 1_000_000
    journal.record(
        EquityRecord(
            id="equity/1", market_time=begun, wall_time=begun, balance=1e3, unrealized=0.0, equity=1e3, open_positions=0
        )
    )
    yield journal
    journal.close()


def told(journal: Journal, symbol: str, amount: float, at_ms: int = SETTLED_MS) -> None:
    journal.record(
        FundingRecord(
            id=f"{symbol}/{at_ms}",
            market_time=at_ms * 1_000_000,
            wall_time=at_ms * 1_000_000,
            symbol=symbol,
            amount=amount,
            rate=None,
        )
    )


async def missed(journal: Journal, venue: Venue) -> list[tuple[str, float]]:
    journal.flush()
    found = await missed_funding(venue, journal, SYMBOLS, now_ms=NOW_MS, replay=False)  # type: ignore[arg-type]
    return [(f.symbol, f.amount) for f in found]


async def test_what_the_journal_has_is_not_missed_and_the_rest_is(journal: Journal) -> None:
    told(journal, "BTCUSDT", -0.5)
    venue = Venue([("BTCUSDT", "-0.50000000", SETTLED_MS), ("ETHUSDT", "0.25", SETTLED_MS), ("DOGE", "9", SETTLED_MS)])
    assert await missed(journal, venue) == [("ETHUSDT", 0.25)]


@pytest.mark.parametrize("name", ["BTCUSDT+ETHUSDT", "UNKNOWN"])
async def test_a_payment_booked_for_several_symbols_together_is_not_booked_again(journal: Journal, name: str) -> None:
    told(journal, name, -0.30000003)
    venue = Venue(
        [
            ("BTCUSDT", "-0.10000001", SETTLED_MS),
            ("ETHUSDT", "-0.20000002", SETTLED_MS),
            ("XRPUSDT", "-0.70000000", SETTLED_MS),
        ]
    )
    assert await missed(journal, venue) == [("XRPUSDT", -0.7)]


async def test_of_two_settlements_told_together_each_takes_its_own_rows(journal: Journal) -> None:
    earlier = SETTLED_MS - 8 * HOUR_MS
    told(journal, "BTCUSDT+ETHUSDT", 0.3, earlier)
    told(journal, "BTCUSDT+ETHUSDT", 0.7)
    venue = Venue(
        [
            ("BTCUSDT", "0.1", earlier),
            ("ETHUSDT", "0.2", earlier),
            ("BTCUSDT", "0.4", SETTLED_MS),
            ("ETHUSDT", "0.3", SETTLED_MS),
            ("ETHUSDT", "0.05", SETTLED_MS + 1000),
        ]
    )
    assert await missed(journal, venue) == [("ETHUSDT", 0.05)]


async def test_a_joint_payment_does_not_take_a_symbol_that_is_not_among_its_own(journal: Journal) -> None:
    told(journal, "BTCUSDT+ETHUSDT", -0.3)
    venue = Venue([("XRPUSDT", "-0.3", SETTLED_MS)])
    assert await missed(journal, venue) == [("XRPUSDT", -0.3)]


async def test_a_long_history_is_read_to_its_end(journal: Journal) -> None:
    first = SETTLED_MS - 48 * HOUR_MS
    rows = [("BTCUSDT", f"0.{n:04d}1", first + n) for n in range(1, 2001)]
    for symbol, amount, at in rows[:-1]:
        told(journal, symbol, float(amount), at)
    venue = Venue(rows)
    assert await missed(journal, venue) == [("BTCUSDT", float(rows[-1][1]))]
    assert venue.asked == 3


async def test_a_journal_without_a_life_has_missed_nothing(tmp_path: Path) -> None:
    empty = open_journal(f"sqlite:///{tmp_path / 'other.sqlite'}")
    venue = Venue([("BTCUSDT", "-0.5", SETTLED_MS)])
    assert await missed(empty, venue) == []
    empty.close()


class Trades:
    """Answers the list of trades as the exchange does: a week at a time, or from an identifier on."""

    def __init__(self, trades: list[tuple[int, str, str, int]], held: str, *, behind: int = 0) -> None:
        self.rows = [
            {"id": n, "side": side, "qty": quantity, "time": at, "orderId": n, "price": "2.5", "commission": "0.1"}
            | {"maker": False}
            for n, side, quantity, at in trades
        ]
        self.held, self.behind = held, behind
        self.asked: list[dict[str, Any]] = []

    async def get(self, path: str, params: dict[str, Any] | None = None, *, signed: bool) -> Any:
        assert signed
        if path.endswith("/positionRisk"):
            return [{"symbol": "XRPUSDT", "positionAmt": self.held}]
        assert params is not None
        if path.endswith("/order"):
            return {"clientOrderId": f"order-{params['orderId']}"}
        assert path.endswith("/userTrades")
        self.asked.append(params)
        if self.behind:
            self.behind -= 1
            return []
        if "fromId" in params:
            assert "startTime" not in params
            return [r for r in self.rows if r["id"] >= params["fromId"]][: params["limit"]]
        end = min(params.get("endTime", params["startTime"] + WEEK_MS), params["startTime"] + WEEK_MS)
        return [r for r in self.rows if params["startTime"] <= r["time"] <= end][: params["limit"]]


WEEK_MS = 7 * 24 * HOUR_MS


async def fills_missed(journal: Journal, venue: Trades) -> list[int]:
    journal.flush()
    found = await missed_fills(venue, journal, ["XRPUSDT"], replay=False)  # type: ignore[arg-type]
    return [int(f.id.rpartition("/")[2]) for f in found]


async def test_the_first_trade_of_a_symbol_is_found_however_long_no_node_ran(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up.time, "time_ns", lambda: (SETTLED_MS + 40 * 24 * HOUR_MS) * 1_000_000)
    at = SETTLED_MS + 30 * 24 * HOUR_MS
    venue = Trades([(7, "BUY", "10", at), (8, "SELL", "4", at + 1)], held="6")
    assert await fills_missed(journal, venue) == [7, 8]
    assert max(p["endTime"] - p["startTime"] for p in venue.asked) < WEEK_MS
    assert venue.asked[0]["startTime"] < SETTLED_MS


async def test_trades_that_are_behind_the_position_are_waited_for(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up.time, "time_ns", lambda: NOW_MS * 1_000_000)
    monkeypatch.setattr(catch_up, "_PAUSES", (0.001, 0.001, 0.001))
    venue = Trades([(7, "BUY", "10", SETTLED_MS)], held="10", behind=3)
    assert await fills_missed(journal, venue) == [7]
    older = Trades([(7, "BUY", "10", SETTLED_MS)], held="25")
    assert await fills_missed(journal, older) == [7], "a position from before the journal is not waited for in vain"


async def test_many_trades_are_read_page_by_page(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up.time, "time_ns", lambda: NOW_MS * 1_000_000)
    venue = Trades([(n, "BUY" if n % 2 else "SELL", "1", SETTLED_MS) for n in range(1, 2_501)], held="0")
    assert await fills_missed(journal, venue) == list(range(1, 2_501))
    assert [p.get("fromId") for p in venue.asked if "fromId" in p] == [1_001, 2_001]
