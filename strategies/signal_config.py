"""What every signal strategy is told."""

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.data import BarType
from nautilus_trader.model.identifiers import InstrumentId

from strategies.protection import ProtectionConfig


class SignalStrategyConfig(StrategyConfig, frozen=True, kw_only=True):
    """
    What every signal strategy is told.

    Attributes
    ----------
    instrument_id : InstrumentId
        The instrument traded.
    bar_type : BarType
        Its bars (EXTERNAL: closed by the exchange, never by a timer).
    context_bar_types : tuple[BarType, ...]
        Bars that must be there too before a row is complete, in feature order (BTC, ETH).
    code : str
        Opens every client order id: the strategy's three characters and the symbol's tag; unique within the account.
    trade_from_ns : int
        Rows that close at or before this time (UTC ns) only warm up.
    warmup_bars : int
        Rows needed before the first signal.
    history_bars : int
        Rows requested from the exchange at start; 0 in backtests, where history is part of the data.
    history_end_ns : int or None
        Market time up to which history is requested; None for now. A replay must pass its own time.
    context_wait_secs : float
        Wall seconds a row waits for its context bars before it is released as incomplete; 0 waits for the next bar.
    wait_for_funding : bool
        Hold history back until the funding history has been published on the bus (live).
    protection : ProtectionConfig
        Retry budget and trigger price.

    """

    instrument_id: InstrumentId
    bar_type: BarType
    context_bar_types: tuple[BarType, ...] = ()
    code: str
    trade_from_ns: int = 0
    warmup_bars: int = 60
    history_bars: int = 0
    history_end_ns: int | None = None
    context_wait_secs: float = 0.0
    wait_for_funding: bool = False
    protection: ProtectionConfig = ProtectionConfig()
