"""
The engine of record against the ancestor's own trade list, and against a bar loop written from the rules.

The first is collected only where the golden files lie (`$ARGONAUT_DATA`, else `../shared/data`); the second runs on
generated markets everywhere.
"""

import os
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from catalog import tables
from catalog.generator import generate
from catalog.ingest import main as ingest
from catalog.instruments import load_instruments
from catalog.reader import load_bars
from catalog.writer import put_series
from node.backtest_run import run_backtest
from node.config import load_config
from strategies.kernel.columns import COLUMNS
from strategies.kernel.composite import run_batch
from strategies.params_file import load_params

ROOT = Path(__file__).parents[2]
TRADES = Path("golden", "xrp_prod_single_full_lev10_nokill_nodaily.csv")
STEP = 900_000_000_000
DAY = 96 * STEP
TICK, LOT = Decimal("0.0001"), Decimal("0.1")


def _data():
    for candidate in (os.environ.get("ARGONAUT_DATA"), ROOT.parent / "shared" / "data"):
        if candidate and (Path(candidate) / TRADES).is_file():
            return Path(candidate)
    return None


DATA = _data()


def golden_config(catalog, *, enter_on_exit_bar=False, params=None):
    config = load_config(ROOT / "config" / "golden.yaml")
    limits = msgspec.structs.replace(config.risk.limits, enter_on_exit_bar=enter_on_exit_bar)
    strategy = config.strategy if params is None else msgspec.structs.replace(config.strategy, file=str(params))
    return msgspec.structs.replace(
        config,
        catalog=str(catalog),
        risk=msgspec.structs.replace(config.risk, limits=limits),
        strategy=strategy,
    )


@dataclass
class Position:
    """A position of the bar loop."""

    sign: int
    entered: int
    price: Decimal
    quantity: Decimal
    stop: Decimal
    target: Decimal


def _grid(value, step):
    return (value / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step


def _slipped(price, sign):
    return _grid(price * (1 + sign * Decimal("0.0001")), TICK)


def _inside(position, bar):
    """Return (price, reason) if the bar, walked open, nearer extreme, other extreme, close, meets a level."""
    opened, high, low = (Decimal(f"{x:.4f}") for x in bar[:3])
    beyond = {"STOP_LOSS": position.stop, "TAKE_PROFIT": position.target}
    down, up = ("STOP_LOSS", "TAKE_PROFIT") if position.sign > 0 else ("TAKE_PROFIT", "STOP_LOSS")
    if opened <= beyond[down]:
        return opened, down
    if opened >= beyond[up]:
        return opened, up
    legs = [(up, high >= beyond[up]), (down, low <= beyond[down])]
    if not abs(high - opened) < abs(low - opened):
        legs.reverse()
    return next(((beyond[name], name) for name, reached in legs if reached), None)


def bar_loop(bars, rows, params, *, enter_on_exit_bar=False, warmup=60):
    """Trade the votes by the rules of the ancestor's backtester; an independent twin of the engine's run."""
    at = {name: i for i, name in enumerate(COLUMNS)}
    balance = start = Decimal(1000)
    position, trades, fee = None, [], Decimal("0.0004")

    def leave(price, time, reason):
        nonlocal balance
        gross = position.sign * position.quantity * (price - position.price)
        balance += gross - fee * position.quantity * (price + position.price)
        side = "LONG" if position.sign > 0 else "SHORT"
        trades.append((side, position.entered, position.price, time, price, position.quantity, reason))

    for i in range(len(bars)):
        exited = False
        if position is not None:
            hit = _inside(position, (bars.open[i], bars.high[i], bars.low[i]))
            if hit is not None:
                leave(hit[0], int(bars.open_time[i]), hit[1])
                position, exited = None, True
        vote = int(rows[i, at["signal"]])
        if vote == 0 or i < warmup:
            continue
        time, close = int(bars.open_time[i]) + STEP, Decimal(f"{bars.close[i]:.4f}")
        if position is not None and position.sign == -vote:
            leave(_slipped(close, vote), time, "REVERSE_SIGNAL")
            position = None
        if position is not None or (exited and not enter_on_exit_bar):
            continue
        reference, atr = float(bars.close[i]) * (1.0 + vote * 0.0001), float(rows[i, at["atr"]])
        stop, target = (
            _grid(Decimal(repr(reference + vote * d * atr)), TICK) for d in (-params.stop_atr, params.target_atr)
        )
        ratio = min(max(Decimal("0.5") - (balance - start) * Decimal("0.0006"), Decimal("0.2")), Decimal("0.5"))
        quantity = _grid(balance * ratio * 10 / close, LOT)
        position = Position(vote, time, _slipped(close, vote), quantity, stop, target)
    return trades, position


@pytest.mark.parametrize(("seed", "enter_on_exit_bar"), [(3, False), (11, True), (29, False)])
def test_a_bar_loop_written_from_the_rules_makes_the_same_trades(tmp_path, seed, enter_on_exit_bar):
    specs, start = load_instruments(), 20_179 * DAY
    series, funding = generate([tables.grid_of(specs["XRPUSDT"])], "15m", start, start + 40 * DAY, seed)["XRPUSDT"]
    put_series(series, funding, catalog=tmp_path / "c", symbol="XRPUSDT", interval="15m", origin="generator")
    loose = tmp_path / "loose.yaml"
    loose.write_text(
        "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.2, stop_atr: 1.0, target_atr: 1.2}\n"
    )
    config = golden_config(tmp_path / "c", enter_on_exit_bar=enter_on_exit_bar, params=loose)
    result = run_backtest(config, log_level="OFF")

    bars, params = load_bars(tmp_path / "c", "XRPUSDT", "15m"), load_params(loose, "XRPUSDT")
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    missing = np.full(len(bars), np.nan)
    rows = run_batch(params, {**columns, "btc_close": missing, "eth_close": missing, "funding": missing})
    expected, still_open = bar_loop(bars, rows, params, enter_on_exit_bar=enter_on_exit_bar)
    assert len(expected) > 25, seed
    reasons = {row[-1] for row in expected}
    assert {"STOP_LOSS", "TAKE_PROFIT"} <= reasons

    for ours, theirs in zip(result.trades, expected, strict=True):
        side, entered, entry, left, exit_price, quantity, reason = theirs
        assert (ours.side, ours.entry_time, ours.exit_time, ours.exit_reason) == (side, entered, left, reason), seed
        assert Decimal(repr(ours.entry_price)) == entry
        assert ours.exit_price == pytest.approx(float(exit_price), abs=1e-9)
        assert abs(Decimal(repr(ours.quantity)) - quantity) <= LOT
    assert len(result.open_positions) == (still_open is not None)


if DATA is not None:

    @pytest.fixture(name="catalog", scope="module")
    def catalog_fixture(tmp_path_factory):
        catalog = tmp_path_factory.mktemp("golden")
        source = DATA / "um_klines_15m" / "XRPUSDT.csv.gz"
        assert not ingest(
            ["klines", "--symbol", "XRPUSDT", "--interval", "15m", "--from", str(source), "--catalog", str(catalog)]
        )
        return catalog

    @pytest.fixture(name="golden", scope="module")
    def golden_fixture():
        table = pd.read_csv(DATA / TRADES)
        for name in ("entry_time", "exit_time"):
            table[name] = pd.to_datetime(table[name], utc=True).astype("datetime64[ns, UTC]").astype("int64")
        return table

    @pytest.fixture(name="window", scope="module")
    def window_fixture(golden):
        """Return the months the ancestor ran over: its indicator file's, which lies beside its trades."""
        file = DATA / "golden" / "xrp_indicators_signals_prod.csv.gz"
        times = pd.to_datetime(pd.read_csv(file, usecols=["timestamp"]).timestamp, utc=True)
        form = "%Y-%m-%dT%H:%M:%SZ"
        return times.min().strftime(form), (times.max() + pd.Timedelta(minutes=15)).strftime(form)

    def run(catalog, window, **options):
        config = golden_config(catalog, **options)
        config = msgspec.structs.replace(
            config, backtest=msgspec.structs.replace(config.backtest, start=window[0], end=window[1])
        )
        return run_backtest(config, log_level="OFF")

    @pytest.fixture(name="ours", scope="module")
    def ours_fixture(catalog, window):
        return run(catalog, window)

    def test_all_entries_and_exits_are_the_ancestors(ours, golden):
        assert len(golden) == 60
        assert len(ours.trades) == 60, "no extra trade"
        assert ours.open_positions == []
        worst = 0.0
        for t, g in zip(ours.trades, golden.itertuples(), strict=True):
            assert t.side == g.side
            assert t.entry_time == g.entry_time + STEP
            intrabar = g.close_reason in ("STOP_LOSS", "TAKE_PROFIT")
            assert t.exit_time == g.exit_time + (0 if intrabar else STEP), g
            assert t.exit_reason == (g.close_reason if intrabar else "REVERSE_SIGNAL")
            worst = max(worst, abs(t.exit_price / g.exit_price - 1.0))
            assert t.entry_price == pytest.approx(g.entry_price, rel=5e-5)
        assert worst <= 0.5e-4, f"{worst * 1e4:.3f} bp"

    def test_quantities_follow_the_ancestors_rule_from_each_ones_own_balance(ours, golden, catalog):
        """The ancestor's prices are not on the tick grid, so balances drift apart by cents and quantities with them."""
        bars = load_bars(catalog, "XRPUSDT", "15m")
        closes = dict(zip((bars.open_time + STEP).tolist(), bars.close.tolist(), strict=True))
        balances = {"ours": 1000.0, "theirs": 1000.0}
        for t, g in zip(ours.trades, golden.itertuples(), strict=True):
            for who, trade in (("ours", t), ("theirs", g)):
                balance = balances[who]
                ratio = min(max(0.5 - (balance - 1000.0) * 0.0006, 0.2), 0.5)
                quantity = balance * ratio * 10.0 / closes[t.entry_time]
                assert abs(trade.quantity - quantity) <= 0.1 + 1e-9, (who, trade)
                balances[who] += trade.net_pnl
            assert abs(t.quantity / g.quantity - 1.0) < 5e-3
            # Two prices half a tick off each, on some two thousand units, and fees of the same.
            assert t.net_pnl == pytest.approx(g.net_pnl, abs=0.3 + 0.005 * abs(g.net_pnl)), g
        assert abs(balances["ours"] / balances["theirs"] - 1.0) < 5e-3

    def test_entries_on_the_bar_of_an_exit_are_an_option(catalog, window, golden):
        more = run(catalog, window, enter_on_exit_bar=True)
        extra = {t.entry_time for t in more.trades} - {int(x) + STEP for x in golden.entry_time}
        expected = ("2025-04-24T13:30Z", "2025-04-30T13:30Z")
        assert extra == {pd.Timestamp(text).value + STEP for text in expected}
        assert {int(x) + STEP for x in golden.entry_time} <= {t.entry_time for t in more.trades}

    def test_the_bar_loop_makes_the_same_trades_on_the_real_months(ours, catalog):
        bars = load_bars(catalog, "XRPUSDT", "15m")
        start = pd.Timestamp(ours.start).value - 1500 * STEP
        keep = (bars.open_time >= start) & (bars.open_time < pd.Timestamp(ours.end).value)
        assert keep.any()
        params = load_params(ROOT / "config" / "strategies" / "composite.yaml", "XRPUSDT")
        names = ("open_time", "open", "high", "low", "close", "volume")
        part = type(bars)(**{name: getattr(bars, name)[keep] for name in names})
        columns = {name: getattr(part, name) for name in names[1:]}
        missing = np.full(len(part), np.nan)
        rows = run_batch(params, {**columns, "btc_close": missing, "eth_close": missing, "funding": missing})
        first = int(np.searchsorted(part.open_time, pd.Timestamp(ours.start).value))
        expected, _ = bar_loop(part, rows, params, warmup=max(60, first))
        got = [(t.side, t.entry_time, t.exit_time, t.exit_reason) for t in ours.trades]
        assert got == [(row[0], row[1], row[3], row[6]) for row in expected]
