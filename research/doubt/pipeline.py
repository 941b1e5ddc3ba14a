"""Our own pipeline under examination: the kernel with its joins, and a strategy in the engine."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from catalog import store
from catalog.instruments import interval_ns
from catalog.reader import load_bars, load_funding
from node.backtest_run import BacktestResult, resolve_window, run_backtest
from node.config import NodeConfig, format_time
from research.doubt.lookahead import examine_foresight, examine_function
from research.doubt.recursive import bars_needed, examine_warm_up
from research.doubt.tables import Series
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from research.features import join_closes, join_funding
from strategies.errors import DataError
from strategies.kernel.columns import COLUMNS
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params

Floats = npt.NDArray[np.float64]

MOST_BARS = 20_000
PRICES = ("open", "high", "low", "close", "volume")
_AHEAD = "look-ahead of strategy"


def kernel_data(config: NodeConfig, symbol: str, most: int = MOST_BARS) -> dict[str, Series]:
    """
    Return what the kernel is computed from, each series with the times it becomes known: the newest `most` bars.

    Raises
    ------
    DataError
        Propagate: the catalog lacks the symbol.

    """
    catalog = Path(config.catalog)
    bars = load_bars(catalog, symbol, config.interval)
    first = int(bars.open_time[max(len(bars) - most, 0)])
    wanted = config.backtest.funding or store.series_path(catalog, store.FUNDING, f"{symbol}-PERP.BINANCE").exists()
    return raw_series(catalog, symbol, config.interval, config.context, first, funding=wanted)


def raw_series(
    catalog: Path,
    symbol: str,
    interval: str,
    context: Sequence[str],
    first: int | None = None,
    until: int | None = None,
    *,
    funding: bool = True,
) -> dict[str, Series]:
    """
    Return the raw series of a symbol that open in ``[first, until)`` (UTC ns), with the times they become known.

    Raises
    ------
    DataError
        Propagate: the catalog lacks bars of the symbol or of one in `context`. Funding may be absent.

    """
    step, data = interval_ns(interval), {}
    for name, other in (("bars", symbol), *((s, s) for s in context)):
        found = load_bars(catalog, other, interval, first, until)
        data[name] = Series(
            found.open_time + step,
            {"open_time": found.open_time, **{p: getattr(found, p) for p in PRICES}},
        )
    if funding:
        try:
            settled = load_funding(catalog, symbol, None, until)
            data["funding"] = Series(settled.time, {"time": settled.time, "rate": settled.rate})
        except DataError:
            pass  # unavailable: the kernel then has no funding, live as here
    return data


def kernel_rows(data: dict[str, Series], params: CompositeParams, step: int) -> Floats:
    """Return the kernel's rows of :func:`kernel_data`, joined as research and live trading join."""
    bars = data["bars"]
    given: dict[str, Any] = {p: bars.columns[p] for p in PRICES}
    others = [name for name in data if name not in {"bars", "funding"}]
    for key, name in zip(("btc_close", "eth_close"), others, strict=False):
        other = data[name].columns
        given[key] = join_closes(bars.columns["open_time"], other["open_time"], other["close"])
    if "funding" in data:
        settled = data["funding"].columns
        given["funding"] = join_funding(bars.columns["open_time"] + step, settled["time"], settled["rate"])
    return run_batch(params, given)


def examine_kernel(config: NodeConfig, symbol: str, *, cuts: int = 16, seed: int = 1) -> Doubt:
    """Return the look-ahead analysis of indicators, features and votes of a symbol."""
    params, step = load_params(Path(config.strategy.file), symbol), interval_ns(config.interval)
    return examine_function(
        lambda data: kernel_rows(data, params, step),
        kernel_data(config, symbol),
        primary="bars",
        names=list(COLUMNS),
        cuts=cuts,
        seed=seed,
        name=f"look-ahead of features {symbol}",
    )


def examine_kernel_warm_up(config: NodeConfig, symbol: str) -> Doubt:
    """Return the recursive analysis of a symbol's columns against the configured history."""
    params, step = load_params(Path(config.strategy.file), symbol), interval_ns(config.interval)
    data = kernel_data(config, symbol, 6_000)
    needed = bars_needed(lambda d: kernel_rows(d, params, step), data, primary="bars", names=list(COLUMNS))
    return examine_warm_up(needed, config.strategy.history_bars, f"recursive analysis {symbol}")


def examine_strategy(config: NodeConfig, *, cuts: int = 4, seed: int = 1) -> list[Doubt]:
    """
    Run a registered strategy on catalogs that end at cut points, and hold its signals against the bars that followed.

    The cuts lie at signals of the full run (where knowing the next bar would matter) and at random bars. Each run sees
    a copy of the catalog in which nothing is known after its cut; what was said until then must be equal.

    Raises
    ------
    ConfigError, DataError
        Propagate: see ``node.backtest_run.run_backtest``.

    """
    config = msgspec.structs.replace(config, backtest=msgspec.structs.replace(config.backtest, latency_ms=0.0))
    window, step = resolve_window(config), interval_ns(config.interval)
    full = run_backtest(config, log_level="OFF")
    random = np.random.default_rng(seed)
    signal_times = sorted({s.market_time for s in full.signals if s.market_time is not None})
    bars = np.arange(window.start_ns + step, window.end_ns, step, dtype=np.int64)
    if len(bars) < 4:
        return [unknown(_AHEAD, Reason.TOO_FEW, f"{len(bars)} bars are too few to cut")]
    later = [t for t in signal_times if int(bars[len(bars) // 4]) <= t < window.end_ns]
    chosen: list[int] = (
        random.choice(len(later), min(len(later), (cuts + 1) // 2), replace=False).tolist() if later else []
    )
    at = [later[i] for i in sorted(chosen)]
    at += random.choice(bars[len(bars) // 4 :], max(cuts - len(at), 1), replace=False).tolist()
    answer = stands(
        _AHEAD, f"{len(at)} runs on cut catalogs gave the same {len(full.signals)} signals until their cuts"
    )
    for cut in sorted({int(t) for t in at}):
        with tempfile.TemporaryDirectory(prefix="argonaut-cut-") as folder:
            cut_catalog(Path(config.catalog), Path(folder), cut)
            shorter = msgspec.structs.replace(
                config, catalog=folder, backtest=msgspec.structs.replace(config.backtest, end=format_time(cut))
            )
            other = run_backtest(shorter, log_level="OFF")
        difference = _difference(full, other, cut)
        if difference:
            text = f"with a catalog that ends at {format_time(cut)}: {difference}"
            answer = falls(_AHEAD, Reason.LOOK_AHEAD, text, cut=format_time(cut), strategy=config.strategy.name)
            break
    return [answer, *_foresight(config, full)]


def cut_catalog(catalog: Path, to: Path, cut: int) -> None:
    """Copy a catalog without anything that became known after `cut` (UTC ns)."""
    import pyarrow as pa  # noqa: PLC0415 - only here
    import pyarrow.compute as pc  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    for kind in sorted(p for p in (catalog / "data").iterdir() if p.is_dir()):
        for series in sorted(p for p in kind.iterdir() if p.is_dir()):
            parts = [pq.read_table(file, partitioning=None) for file in sorted(series.glob("*.parquet"))]
            if not parts:
                continue
            table = pa.concat_tables(parts)  # some kinds lie in pieces, each of a month
            if kind.name != store.INSTRUMENTS:
                table = table.filter(pc.less_equal(table["ts_init"], cut))
            if len(table):
                store.write_series(to, kind.name, series.name, table)
    for file in catalog.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy2(file, to / file.name)


def _difference(full: BacktestResult, other: BacktestResult, cut: int) -> str:
    """Return the first thing said until the cut that differs, or nothing."""
    for kind, word in (("signals", "signal"), ("verdict_records", "verdict")):
        one, two = ([_said(r) for r in getattr(x, kind) if (r.market_time or 0) <= cut] for x in (full, other))
        for a, b in zip(one, two, strict=False):
            if a != b:
                fields = [k for k in a if a[k] != b.get(k)]
                return f"the {word} of {a['symbol']} at {format_time(a['market_time'])} differs in {fields[:5]}"
        if len(one) != len(two):
            extra = (one if len(one) > len(two) else two)[min(len(one), len(two))]
            where, when = "full" if len(one) > len(two) else "cut", format_time(extra["market_time"])
            return f"only the {where} history gives the {word} of {extra['symbol']} at {when}"
    closed = [
        [
            (t.id, t.entry_price, t.exit_time, t.exit_price, t.exit_reason)
            for t in x.trades
            if t.exit_time is not None and t.exit_time < cut
        ]
        for x in (full, other)
    ]
    if closed[0] != closed[1]:
        return "trades closed before the cut differ"
    return ""


def _said(record: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    plain.pop("wall_time")
    return plain


def _foresight(config: NodeConfig, full: BacktestResult) -> list[Doubt]:
    doubts, step = [], interval_ns(config.interval)
    for symbol in config.symbols:
        signals = [s for s in full.signals if s.symbol == symbol and s.market_time is not None]
        bars = load_bars(Path(config.catalog), symbol, config.interval)
        closes = bars.open_time + step
        at = np.searchsorted(closes, np.array([s.market_time for s in signals], dtype=np.int64))
        sides = [1 if s.side == "LONG" else -1 for s in signals]
        doubts.append(examine_foresight(bars.close, at.tolist(), sides, f"foresight of signals {symbol}"))
    return doubts
