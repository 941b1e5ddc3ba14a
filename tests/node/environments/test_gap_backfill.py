"""A market stream that is gone for minutes: what closed meanwhile is fetched before the next decision, bit for bit."""

import asyncio
from typing import Any

from node.journal import open_journal
from strategies.records import SignalRecord
from tests.node.environments.conftest import FUTURE, HISTORY, Rig

CALM, GONE, AFTER = 6, 7, 45
NODE = "tests.node.environments.past_node"


def urls_of(exchange: Any) -> dict[str, str]:
    return {"base_url_http": exchange.urls["http"], "base_url_ws": exchange.urls["ws"], "account": "test"}


async def lives(rig: Rig, *, gone: bool) -> tuple[list[SignalRecord], list[str]]:
    """Return the signals of a node that heard every minute, or all but `GONE`, and its incidents."""
    rig.directory = rig.directory / ("gone" if gone else "whole")
    rig.directory.mkdir()
    rig.journal = f"sqlite:///{rig.directory / 'journal.sqlite'}"
    exchange = await rig.exchange()
    # Nothing may be traded: positions would make the wishes of the two differ.
    risk = {"sizing": {"method": "risk_fraction", "risk_fraction": 0.001}, "limits": {"max_order_notional": 1e-6}}
    # More than the exchange has: the history of both begins with the same minute, whenever they are started.
    strategy = {"file": "loose.yaml", "history_bars": HISTORY + FUTURE + 200}
    config = rig.configure("testnet", urls_of(exchange), risk=risk, strategy=strategy)
    node = await rig.node(config, NODE, TRADE_FROM_NS=str(rig.first_ms * 1_000_000))
    await rig.warm(node)

    async def step(count: int) -> None:
        for _ in range(count):
            await exchange.control("step", count=1)
            await asyncio.sleep(0.1)

    await step(CALM)
    if gone:
        await exchange.control("drop_market_stream", refuse=True)
        await step(GONE)
        await exchange.control("accept")
        await rig.incident("MARKET_STREAM_GAP")
        await asyncio.sleep(1.0)
    else:
        await step(GONE)
    await step(AFTER)
    await rig.settled(exchange)
    await rig.stop(node)
    await exchange.kill()
    journal = open_journal(rig.journal, read_only=True)
    try:
        return list(journal.records(SignalRecord)), [i.code for i in journal.incidents()]
    finally:
        journal.close()


def facts(signal: SignalRecord) -> dict[str, Any]:
    return {f: getattr(signal, f) for f in signal.__struct_fields__ if f != "wall_time"}


async def test_minutes_missed_are_fetched_before_the_next_decision(past_rig: Rig) -> None:
    directory = past_rig.directory
    whole, calm = await lives(past_rig, gone=False)
    past_rig.directory = directory
    holed, told = await lives(past_rig, gone=True)
    assert "bar_gap" not in calm
    assert "bar_gap" in told
    assert "history_missing" not in told
    begins = past_rig.first_ms + CALM * 60_000
    ends = (begins + GONE * 60_000) * 1_000_000
    before = [facts(s) for s in holed if s.market_time is not None and s.market_time <= begins * 1_000_000]
    later = [facts(s) for s in holed if s.market_time is not None and s.market_time > ends]
    assert before == [facts(s) for s in whole if s.market_time is not None and s.market_time <= begins * 1_000_000]
    # Equal means bit-equal: every feature of every decision after the gap, the first one included.
    assert later == [facts(s) for s in whole if s.market_time is not None and s.market_time > ends]
    assert len(later) >= 3, "the market gave too few signals to say anything"
    # An old bar never decides: its price is gone.
    assert [s for s in holed if s.market_time is not None and begins * 1_000_000 < s.market_time <= ends] == []
