"""A node that trades and records: the same fills as the backtest, and everything it heard on the tape."""

import yaml

from catalog.recording import tape
from node.parity import compare


def test_recording_changes_no_decision_and_misses_no_bar(demo) -> None:
    demo.write(start="2025-09-08", end="2025-09-10")
    config = yaml.safe_load(demo.config.read_text())
    root = demo.directory / "recording"
    config["record"] = {"directory": str(root), "raw": str(demo.directory / "raw"), "intervals": ["15m"]}
    demo.config.write_text(yaml.safe_dump(config))
    backtest = demo.run(
        "node.backtest", "--config", str(demo.config), "--json", str(demo.directory / "backtest.json"), "--quiet"
    )
    assert backtest.returncode == 0, backtest.stderr
    assert not root.exists(), "a backtest records nothing"
    live = demo.run("node.live", "--config", str(demo.config), "--json", str(demo.directory / "live.json"))
    assert live.returncode == 0, live.stdout + live.stderr
    found = compare(demo.result("backtest.json"), demo.result("live.json"))
    assert found.differences == []
    assert found.fills >= 10, "too few fills to prove anything"
    heard = list(tape.entries(root))
    assert [e.sequence for e in heard] == list(range(1, len(heard) + 1))
    bars = [e.stream for e in heard if "@kline_15m" in e.stream]
    symbols = sorted(config["symbols"])
    assert {stream.partition("@")[0].upper(): bars.count(stream) for stream in bars} == dict.fromkeys(symbols, 2 * 96)
    assert sum("@aggTrade" in e.stream for e in heard) >= len(symbols) * 2 * 96
