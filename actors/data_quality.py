"""
The live gate on data: pauses entries of a symbol while its bars cannot be trusted, and resumes them when they can.

The rules are those of ``catalog.quality`` on one bar at a time: gap, jump against a robust volatility, broken candle,
no volume, spread, and staleness in wall time. A pause goes over ``argonaut.control``, so the guard refuses with its
usual reason, the journal remembers it and protection is not touched. A bar is judged before any strategy hears it.

Only a pause that this actor set is lifted by it. A person's pause, or one restored after a restart, stays for a person.

Errors: a defect in here pauses the symbol (**fail closed**) and is reported; in a backtest it is raised.
"""

import math
from collections import deque
from typing import Any

import numpy as np
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, BarType, QuoteTick

from actors.account_view import venue_symbol
from actors.reporting import Reporter, contained
from strategies.market_clock import bar_close_ns
from strategies.records import IncidentRecord

CONTROL_TOPIC = "argonaut.control"
INCIDENTS = "argonaut.record.incident"
JUDGE_FIRST = 840
"""Bus priority: after the clock, funding and prices, before every component that decides."""
WHO = "data_quality"
_TIMER = "DataQuality.stale"


class DataQualityConfig(ActorConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`DataQuality`.

    Parameters
    ----------
    bar_types : tuple of BarType
        What is judged, one series for each symbol.
    jump_scales : float
        Close-to-close returns beyond this many median magnitudes (and `jump_floor`) pause entries.
    jump_floor : float
        Fraction of the price; smaller jumps are never told.
    scale_bars : int
        Returns the median is taken of; jumps are not judged before a quarter of them is known.
    release_bars : int
        Clean bars in a row after which a pause is lifted.
    block_silence : bool
        A bar without volume pauses entries.
    stale_secs : float or None
        Wall seconds without a bar after which entries are paused; None (replays, backtests) does not look.
    max_spread_bps : float or None
        Quotes wider than this pause entries until a narrower one and `release_bars` bars; None does not listen.
    raise_errors : bool
        Backtests: a defect must end the run.

    """

    bar_types: tuple[BarType, ...]
    jump_scales: float = 30.0
    jump_floor: float = 0.03
    scale_bars: int = 96
    release_bars: int = 2
    block_silence: bool = True
    stale_secs: float | None = None
    max_spread_bps: float | None = None
    raise_errors: bool = False


class _Series:
    """What is remembered of one symbol."""

    def __init__(self, bar_type: BarType, size: int) -> None:
        self.bar_type = bar_type
        self.symbol = venue_symbol(bar_type.instrument_id)
        self.step = int(bar_type.spec.timedelta.value)
        self.returns: deque[float] = deque(maxlen=size)
        self.close: float | None = None
        self.close_time: int | None = None
        self.arrived: int | None = None
        self.clean = 0
        self.wide = False
        self.paused = False


class DataQuality(Actor):
    """Pauses and resumes entries by symbol; see the module's docstring."""

    def __init__(self, config: DataQualityConfig) -> None:
        super().__init__(config)
        self._reporter = Reporter(self)
        self._series = {b.instrument_id: _Series(b, config.scale_bars) for b in config.bar_types}
        self._hear_bar = self._safely(self._on_bar)
        self._hear_quote = self._safely(self._on_quote)
        self._hear_incident = self._safely(self._on_incident)
        self._hear_control = self._safely(self._on_control)

    def on_start(self) -> None:
        """Join the bus; in live, begin to look at the wall clock."""
        self.msgbus.subscribe("data.bars.*", self._hear_bar, JUDGE_FIRST)
        self.msgbus.subscribe(INCIDENTS, self._hear_incident)
        self.msgbus.subscribe(CONTROL_TOPIC, self._hear_control)
        if self.config.max_spread_bps is not None:
            self.msgbus.subscribe("data.quotes.*", self._hear_quote, JUDGE_FIRST)
            for instrument in self._series:  # live, nobody else asks the exchange for them
                self.subscribe_quote_ticks(instrument)
        if self.config.stale_secs is not None:
            now = self.clock.timestamp_ns()
            for series in self._series.values():
                series.arrived = now
            self.clock.set_timer_ns(
                _TIMER, int(self.config.stale_secs * 250_000_000), 0, 0, self._safely(self._on_timer)
            )

    def on_stop(self) -> None:
        """Leave the bus."""
        self.msgbus.unsubscribe("data.bars.*", self._hear_bar)
        self.msgbus.unsubscribe(INCIDENTS, self._hear_incident)
        self.msgbus.unsubscribe(CONTROL_TOPIC, self._hear_control)
        if self.config.max_spread_bps is not None:
            self.msgbus.unsubscribe("data.quotes.*", self._hear_quote)
            for instrument in self._series:
                self.unsubscribe_quote_ticks(instrument)
        if _TIMER in self.clock.timer_names:
            self.clock.cancel_timer(_TIMER)

    def on_reset(self) -> None:
        """Forget everything."""
        self._series = {b.instrument_id: _Series(b, self.config.scale_bars) for b in self.config.bar_types}

    # -- judging ------------------------------------------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> None:
        series = self._series.get(bar.bar_type.instrument_id)
        if series is None or bar.bar_type != series.bar_type:
            return
        if series.close is None:
            self._seed(series, before=bar.ts_event)
        series.arrived = self.clock.timestamp_ns()
        reasons = self._defects(series, bar)
        self._remember(series, bar)
        if reasons:
            self._pause(series, "; ".join(reasons))
        else:
            self._count_clean(series)

    def _defects(self, series: _Series, bar: Bar) -> list[str]:
        o, h, low, c = (x.as_double() for x in (bar.open, bar.high, bar.low, bar.close))
        close_time = bar_close_ns(bar)
        reasons = []
        if not (0 < low <= min(o, c) and h >= max(o, c)):
            reasons.append(f"broken candle {o}/{h}/{low}/{c}")
        if series.close_time is not None:
            missing = (close_time - series.close_time) // series.step - 1
            if missing > 0:
                reasons.append(f"gap: {missing} bars missing")
            elif missing < 0:
                reasons.append("a bar that is not newer than the last one")
        if self.config.block_silence and bar.volume.as_double() == 0:
            reasons.append("no volume")
        jump = self._jump(series, c)
        if jump is not None:
            reasons.append(jump)
        return reasons

    def _jump(self, series: _Series, close: float) -> str | None:
        if series.close is None or close <= 0 or len(series.returns) < self.config.scale_bars // 4:
            return None
        change = math.log(close / series.close)
        scale = float(np.median(np.abs(np.array(series.returns))))
        limit = max(self.config.jump_scales * scale, self.config.jump_floor)
        if abs(change) <= limit:
            return None
        return f"jump of {math.expm1(change):+.2%}, usual are {scale:.3%}"

    def _remember(self, series: _Series, bar: Bar) -> None:
        close, close_time = bar.close.as_double(), bar_close_ns(bar)
        if series.close_time is not None and close_time <= series.close_time:
            return
        if series.close is not None and close > 0:
            series.returns.append(math.log(close / series.close))
        if close > 0:
            series.close = close
        series.close_time = close_time

    def _seed(self, series: _Series, before: int) -> None:
        """Take the history the strategies asked for, so that live and backtest judge by the same volatility."""
        for bar in reversed(self.cache.bars(series.bar_type)):
            if bar.ts_event < before:
                self._remember(series, bar)

    def _on_quote(self, quote: QuoteTick) -> None:
        series, limit = self._series.get(quote.instrument_id), self.config.max_spread_bps
        if series is None or limit is None:
            return
        bid, ask = quote.bid_price.as_double(), quote.ask_price.as_double()
        spread = (ask - bid) / (ask + bid) * 20_000 if bid > 0 and ask > 0 else math.inf
        wide = not 0 <= spread <= limit
        if wide and not series.wide:
            self._pause(series, f"spread {spread:.1f} bps, {limit:g} allowed")
        series.wide = wide

    def _on_timer(self, _event: Any) -> None:
        limit = self.config.stale_secs
        if limit is None:
            return
        now = self.clock.timestamp_ns()
        for series in self._series.values():
            silent = (now - (series.arrived or now)) / 1e9
            if silent > limit and not series.paused:
                self._pause(series, f"no bar for {silent:.0f} s")

    # -- pausing ------------------------------------------------------------------------------------------------------

    def _pause(self, series: _Series, reason: str) -> None:
        series.clean = 0
        self._reporter.incident("warning", "data_quality", series.symbol, f"entries paused: {reason}")
        self._control("pause", series, reason)

    def _count_clean(self, series: _Series) -> None:
        series.clean = 0 if series.wide else series.clean + 1
        if series.paused and series.clean >= self.config.release_bars:
            series.paused = False
            self._control("resume", series, f"{series.clean} clean bars")

    def _control(self, action: str, series: _Series, reason: str) -> None:
        message = {"action": action, "symbol": series.symbol, "who": f"{WHO}: {reason}"}
        self.msgbus.publish(CONTROL_TOPIC, message)

    def _on_incident(self, record: IncidentRecord) -> None:
        """Learn from the guard whose pause holds: it tells a pause only when there was none."""
        if record.code not in ("pause", "resume"):
            return
        mine = record.code == "pause" and record.message.startswith(f"by {WHO}")
        for series in self._series.values():
            if record.symbol == series.symbol:
                series.paused = mine
                series.clean = 0

    def _on_control(self, message: dict[str, Any]) -> None:
        """Leave a pause to the person who asks for it as well."""
        if message.get("action") != "pause" or str(message.get("who", "")).startswith(WHO):
            return
        for series in self._series.values():
            if message.get("symbol") == series.symbol:
                series.paused = False

    def _safely(self, handler: Any) -> Any:
        return contained(handler, self._failed, raise_errors=self.config.raise_errors)

    def _failed(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._reporter.incident("critical", "data_quality_error", None, f"entries paused: {text}")
        for series in self._series.values():
            self._control("pause", series, text)
