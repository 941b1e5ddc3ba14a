"""The kernel inside the engine, fed by bars as they are delivered, gives the bits of the batch."""

from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from strategies.kernel.columns import COLUMNS, column_index
from strategies.kernel.composite import CompositeKernel, run_batch, warm_up
from strategies.kernel.params import CompositeParams
from strategies.kernel.step import INPUTS

INTERVAL_NS = 15 * 60 * 1_000_000_000
PARAMS = CompositeParams(signal_threshold=2, adx_threshold=15.0, volume_multiplier=1.5)
PRIMARY, BTC, ETH = (
    BarType.from_str(f"{s}.BINANCE-15-MINUTE-LAST-EXTERNAL") for s in ("ADAUSDT", "BTCUSDT", "ETHUSDT")
)


class _KernelStrategy(Strategy):
    """Collects the kernel's row of each bar; the primary bar is the last of its time step."""

    def __init__(self, funding, oi_change):
        super().__init__()
        self.rows = []
        self._kernel = CompositeKernel(PARAMS)
        self._closes = {}
        self._side_data = (funding, oi_change)

    def on_start(self):
        warm_up()
        for bar_type in (BTC, ETH, PRIMARY):
            self.subscribe_bars(bar_type)

    def on_bar(self, bar):
        if bar.bar_type != PRIMARY:
            self._closes[bar.bar_type, bar.ts_event] = float(bar.close)
            return
        btc, eth = (self._closes.get((kind, bar.ts_event), np.nan) for kind in (BTC, ETH))
        values = (float(value) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume))
        i = len(self.rows)
        row = self._kernel.step(*values, btc, eth, self._side_data[0][i], self._side_data[1][i])
        self.rows.append(row.copy())

    def on_reset(self):
        self.rows = []
        self._closes = {}
        self._kernel.reset()


def _bars(bar_type, instrument, prices, volume):
    times = INTERVAL_NS * np.arange(1, len(prices) + 1)
    return [
        Bar(
            bar_type, *(Price(x, instrument.price_precision) for x in row), Quantity(v, instrument.size_precision), t, t
        )
        for row, v, t in zip(prices.tolist(), volume.tolist(), times.tolist(), strict=True)
        if not np.isnan(row[3])
    ]


def test_rows_in_the_engine_are_the_rows_of_the_batch(make_market, same_bits):
    market = make_market(31, 1_200, tick=0.001)
    instruments = {
        PRIMARY: TestInstrumentProvider.adausdt_binance(),
        BTC: TestInstrumentProvider.btcusdt_binance(),
        ETH: TestInstrumentProvider.ethusdt_binance(),
    }
    market[:, :4] = np.round(market[:, :4], instruments[PRIMARY].price_precision)
    market[:, 4] = np.round(market[:, 4], instruments[PRIMARY].size_precision)
    market[:, 2] = np.minimum(market[:, 2], market[:, [0, 3]].min(axis=1))
    at = {name: i for i, name in enumerate(INPUTS)}

    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(1_000, USDT)], USDT, Decimal(1))
    expected = market.copy()
    for kind in (BTC, ETH, PRIMARY):
        instrument = instruments[kind]
        engine.add_instrument(instrument)
        if kind is PRIMARY:
            prices, volume = market[:, :4], market[:, 4]
            positions = [0, 1, 2, 3]
        else:
            column = at["btc_close" if kind is BTC else "eth_close"]
            prices, volume = np.repeat(market[:, [column]], 4, axis=1), np.ones(len(market))
            positions = [column]
        bars = _bars(kind, instrument, prices, volume)
        # The batch gets what the catalog would give: the engine's own conversion of each price to a float.
        by_row = {bar.ts_event // INTERVAL_NS - 1: bar for bar in bars}
        for i, bar in by_row.items():
            expected[i, positions] = [float(bar.open), float(bar.high), float(bar.low), float(bar.close)][
                -len(positions) :
            ]
            if kind is PRIMARY:
                expected[i, 4] = float(bar.volume)
        engine.add_data(bars)
    strategy = _KernelStrategy(market[:, at["funding"]], market[:, at["oi_change"]])
    engine.add_strategy(strategy)

    batch = run_batch(PARAMS, expected)
    assert set(batch[:, column_index("votes", "signal")]) == {-1.0, 0.0, 1.0}
    engine.run()
    assert same_bits(np.array(strategy.rows).reshape(-1, len(COLUMNS)), batch)

    engine.reset()
    engine.run()
    assert same_bits(np.array(strategy.rows).reshape(-1, len(COLUMNS)), batch), "after reset"
    engine.dispose()
