"""The page of one backtest, from the JSON ``python -m node.backtest --json`` writes."""

from pathlib import Path
from typing import Any

import msgspec

from node.config import parse_time
from node.statistics import Statistics
from research.report.subject import Page, Run, market
from research.walkforward.outcome import gate_figures, intervals, returns
from research.walkforward.trial import Judged, Trade
from strategies.errors import ConfigError, DataError
from trials import lines_of, search_effort


def backtest_page(path: Path, catalog: Path | None, seed: int, ledger: Path | None = None) -> Page:
    """
    Return the page of a stored result; prices come from `catalog`, else from the one the result names.

    Its Sharpe ratio is deflated by what `ledger`, and the catalog's memory, say was tried.

    Raises
    ------
    ConfigError
        Fatal: the file cannot be read.
    DataError
        Propagate: not JSON, or JSON but not such a result (names the key); the ledger is damaged.

    """
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except msgspec.DecodeError as e:
        raise DataError(f"{path}: not JSON: {e}") from None
    try:
        return _page(path, raw, catalog, seed, ledger)
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as e:
        raise DataError(
            f"{path}: not a result of `python -m node.backtest --json` of this version ({type(e).__name__}: {e}): "
            "run the backtest again"
        ) from None


def _page(path: Path, raw: dict[str, Any], catalog: Path | None, seed: int, ledger: Path | None) -> Page:
    config = raw["config"]
    symbols = list(config["symbols"])
    start, end = _ns(raw["start"]), _ns(raw["end"])
    trades = [_trade(t) for t in raw["trades"]]
    equity = [(_ns(e["market_time"]), e["equity"], e["balance"]) for e in raw["equity"]]
    balance = float(config["backtest"]["balance"])
    judged = _judged(raw, trades)
    folder = Path(config["catalog"]) if catalog is None else catalog
    prices, regimes = market(folder, symbols, config["interval"], (start, end))
    daily = returns(balance, equity)
    lines = lines_of([raw["trial"]] if raw.get("trial") else [], ledger)
    effort = search_effort(symbols, ledger=ledger, catalog=folder)
    incidents: dict[str, int] = {}
    for i in raw["incidents"]:
        incidents[i["code"]] = incidents.get(i["code"], 0) + 1
    run = Run(
        title=", ".join(symbols),
        symbols=symbols,
        start=raw["start"],
        end=raw["end"],
        start_balance=balance,
        statistics=msgspec.convert(raw["statistics"], Statistics),
        intervals=intervals([t.net_pnl for t in trades], daily, seed),
        equity=equity,
        funding=[(_ns(f["market_time"]), f["symbol"], f["amount"]) for f in raw["funding"]],
        trades=trades,
        judged=judged,
        gate_figures=None if config["gate"]["mode"] == "off" else gate_figures(judged, seed),
        verdicts=raw["verdicts"],
        incidents=incidents,
        prices=prices,
        regimes=regimes,
        daily_returns=daily.tolist(),
        # A catalog that does not know where its data came from says only "catalog".
        synthetic=None if raw["data_source"] == "catalog" and not raw["synthetic"] else raw["synthetic"],
        data_source=raw["data_source"],
        recorded=bool(lines),
        notes=[
            f"still open at the end: {p['symbol']} {p['side']} {p['quantity']:g}, unrealised "
            f"{p['unrealized_pnl']:+.2f} USDT"
            for p in raw["open_positions"]
        ],
    )
    return Page(
        title="Backtest",
        subtitle=f"{run.title} {config['interval']}, {raw['start'][:10]} to {raw['end'][:10]}, from {path.name}",
        runs=[run],
        config={"config": config, "strategy_params": raw["strategy_params"]},
        hashes={
            "data": raw["data_hash"],
            **{f"line {e.sequence} of the trial ledger": e.digest for e in lines},
            **{f"version of {k}": v for k, v in raw["versions"].items()},
        },
        effort=(effort.trials, effort.daily_variance) if effort.trials > 0 else None,
        seed=seed,
    )


def _judged(raw: dict[str, Any], trades: list[Trade]) -> list[Judged]:
    """Return the signals with their verdicts; the result is that of the trade where there was one, else not known."""
    ml = {v["signal_id"]: v for v in raw["verdict_records"] if v["gate"] == "ml"}
    guard = {v["signal_id"]: v for v in raw["verdict_records"] if v["gate"] != "ml"}
    results = {t.signal_id: t.r for t in trades if t.signal_id}
    return [
        Judged(
            symbol=s["symbol"],
            time=_ns(s["market_time"]),
            side=s["side"],
            score=ml.get(s["id"], {}).get("score"),
            threshold=ml.get(s["id"], {}).get("threshold"),
            ml=ml.get(s["id"], {}).get("reason"),
            guard=guard.get(s["id"], {}).get("reason"),
            outcome="traded" if s["id"] in results else "unknown",
            net_r=results.get(s["id"]),
        )
        for s in raw["signals"]
    ]


def _trade(t: dict[str, Any]) -> Trade:
    risk = None if t["stop"] is None else abs(t["entry_price"] - t["stop"]) * t["quantity"]
    fields = {name: t.get(name) for name in Trade.__struct_fields__}
    fields |= {"entry_time": _ns(t["entry_time"]), "exit_time": _ns(t["exit_time"])}
    return msgspec.convert(fields | {"r": t["net_pnl"] / risk if risk else None}, Trade)


def _ns(text: str | None) -> int:
    return 0 if text is None else parse_time(text, "time")
