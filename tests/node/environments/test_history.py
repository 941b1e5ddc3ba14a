"""History that does not come at once, or not at all: asked for again with growing pauses, then a clear end."""

from typing import Any

import pytest

from tests.node.environments.test_environments import protected, urls_of

KLINES = {"method": "GET", "path": "/fapi/v1/klines"}


async def test_a_start_survives_failed_history_requests(rig: Any) -> None:
    exchange = await rig.exchange()
    for fault in (
        {"status": 503, "code": -1008},
        {"mode": "close"},
        {"status": 429, "code": -1003},
        {"status": 502, "code": 0, "message": "<html>bad gateway</html>"},
    ):
        await exchange.control("fault", **KLINES, **fault)
    node = await rig.node(rig.configure("testnet", urls_of(exchange)))
    await rig.warm(node)
    assert node.log.read_text().count("trying again in") >= 3
    await rig.step_until(exchange, protected)
    await rig.settled(exchange)
    summary = await rig.stop(node)
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    assert "HISTORY_UNAVAILABLE" not in {i.code for i in rig.incidents()}


@pytest.mark.soak
async def test_a_node_without_history_ends_with_an_error(rig: Any) -> None:
    exchange = await rig.exchange()
    await exchange.control("fault", **KLINES, times=1_000)
    node = await rig.node(rig.configure("testnet", urls_of(exchange)))
    code, output = await node.wait(240)
    assert code == 1, output[-2000:]
    assert "history could not be fetched" in (rig.directory / "summary.json").read_text()
    assert "HISTORY_UNAVAILABLE" in {i.code for i in rig.incidents()}
