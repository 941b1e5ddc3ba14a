"""Nodes in real time: testnet's way of doing things against our venue, and paper fed by it."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from node.config import load_config
from node.environments import Exchange, Paper, SimulatedVenue, environment_of
from strategies.errors import ConfigError


def protected(books: dict[str, Any]) -> bool:
    """Whether a position is open with stop and target at the venue."""
    return float(books["positions"]["XRPUSDT"]["quantity"]) != 0 and len(books["open_algo_orders"]) == 2


def urls_of(exchange: Any) -> dict[str, str]:
    return {"base_url_http": exchange.urls["http"], "base_url_ws": exchange.urls["ws"], "account": "test"}


async def test_a_node_on_an_exchange_trades_stops_and_takes_over_after_a_kill(rig: Any) -> None:
    exchange = await rig.exchange()
    config = rig.configure("testnet", urls_of(exchange))
    node = await rig.node(config)
    await rig.warm(node)
    books = await rig.step_until(exchange, protected)
    entries = len(books["fills"])
    await rig.settled(exchange)
    await node.kill()
    node = await rig.node(config)
    await rig.warm(node)
    assert protected(await rig.settled(exchange))  # taken over as it was: nothing cancelled, nothing placed again
    await rig.step_until(exchange, lambda b: len(b["fills"]) > entries)
    await rig.settled(exchange)
    summary = await rig.stop(node)
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    assert {c["name"] for c in summary["checks"]} >= {
        "node position = venue position",
        "every open position has its stop at the venue",
        "journal has every fill of the venue",
    }
    assert summary["stopped_by"] == "SIGTERM"
    books = await exchange.books()
    assert Decimal(books["positions"]["XRPUSDT"]["quantity"]) == Decimal(summary["positions"]["XRPUSDT"])
    sent = [o["client_order_id"] for o in books["orders"] if not o["algo_id"]]
    assert len(sent) == len(set(sent))
    # The journal now tells of this account and of no other.
    other = rig.configure("testnet", {**urls_of(exchange), "account": "another"})
    code, output = await (await rig.node(other)).wait()
    assert code == 2, output
    assert "binance:testnet:test" in output


async def test_paper_trades_on_the_exchanges_market_and_keeps_its_account(rig: Any) -> None:
    exchange = await rig.exchange()
    paper_file = rig.directory / "paper-venue.yaml"
    paper_file.write_text(
        json.dumps(
            {
                "upstream": {"http": exchange.urls["http"], "ws": exchange.urls["ws"]},
                "symbols": ["XRPUSDT"],
                "interval": "1m",
                "history_bars": 350,
                "state": str(rig.directory / "paper.json"),
            }
        )
    )
    config = rig.configure("paper", {}, venue="paper-venue.yaml")
    node = await rig.node(config)

    def account() -> dict[str, Any]:
        return dict(json.loads((rig.directory / "paper.json").read_text()))

    await rig.warm(node)
    for _ in range(200):
        await exchange.control("step", count=1)
        await asyncio.sleep(0.12)
        if len([a for a in account()["algos"] if a["status"] == "NEW"]) == 2:
            break
    await rig.settled(exchange)
    summary = await rig.stop(node)
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    assert summary["fills"]
    assert (await exchange.books())["fills"] == []
    first = account()
    node = await rig.node(config)
    await rig.warm(node)
    summary = await rig.stop(node)
    assert summary["set_aside"] is None  # the same account, the same journal
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    second = account()
    assert second["session"] == first["session"]
    assert second["fills"][: len(first["fills"])] == first["fills"]


def test_every_environment_has_its_object(rig_config: Any) -> None:
    kinds = {"venue": SimulatedVenue, "paper": Paper, "testnet": Exchange, "demo": Exchange, "live": Exchange}
    for name, kind in kinds.items():
        made = environment_of(load_config(rig_config(name)), None)
        assert type(made) is kind
        assert made.replay == (name == "venue")
        assert made.replaceable == (name in ("venue", "paper"))
        if kind is Exchange:
            with pytest.raises(ConfigError, match="not a simulated venue"):
                environment_of(load_config(rig_config(name)), "http://127.0.0.1:1")


@pytest.mark.parametrize("environment", ["live", "venue", "paper"])
def test_other_addresses_are_for_the_test_environments_only(rig_config: Any, environment: str) -> None:
    with pytest.raises(ConfigError, match="base_url_http"):
        load_config(rig_config(environment, exchange={"base_url_http": "http://127.0.0.1:1"}))
