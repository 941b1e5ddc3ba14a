"""
The three messages of the decision chain, as Nautilus custom data.

``Signal`` (a strategy's wish) → ``Verdict`` (a gate's answer) → ``Approval`` (granted size and levels). They travel on
the message bus synchronously, so the decision falls on the bar that caused it; as custom data the same objects can be
stored in the catalog, streamed to Redis and replayed. Times are UTC nanoseconds of *market* time. A Signal's prices are
floats (it is a wish); prices and quantities of an Approval are decimal strings on the venue's grid.
"""

from enum import StrEnum, unique
from typing import Any

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId

MESSAGE_VERSION = 1


@unique
class Side(StrEnum):
    """Direction of a signal or position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def sign(self) -> int:
        """+1 for LONG, -1 for SHORT."""
        return 1 if self is Side.LONG else -1

    @property
    def opposite(self) -> "Side":
        """The other direction."""
        return Side.SHORT if self is Side.LONG else Side.LONG


@unique
class Reason(StrEnum):
    """Why a gate said yes or no. The same label appears in logs, metrics, journal, dashboard and reports."""

    # yes
    PASSED = "passed"
    SHADOW = "shadow"  # the gate would have blocked, but only watches

    # the ML gate
    ML_BELOW_THRESHOLD = "ml_below_threshold"
    ML_NO_MODEL = "ml_no_model"
    ML_BROKEN_MODEL = "ml_broken_model"
    ML_LEVELS_MISMATCH = "ml_levels_mismatch"
    ML_EXPIRED = "ml_expired"
    ML_UNPROMOTED = "ml_unpromoted"
    ML_SCHEMA_MISMATCH = "ml_schema_mismatch"
    ML_BAD_INPUT = "ml_bad_input"
    ML_ERROR = "ml_error"

    # the risk guard
    CLOCK_UNSET = "clock_unset"
    STALE_FEED = "stale_feed"
    PAUSED = "paused"
    KILLED = "killed"
    DAILY_LOSS = "daily_loss"
    FAST_KILL = "fast_kill"
    SLOW_KILL = "slow_kill"
    POSITION_OPEN = "position_open"
    ORDER_PENDING = "order_pending"
    MAX_POSITIONS = "max_positions"
    SAME_DIRECTION = "same_direction"
    TOTAL_NOTIONAL = "total_notional"
    LEVERAGE = "leverage"
    BELOW_MINIMUM = "below_minimum"
    BAD_LEVELS = "bad_levels"
    NO_EQUITY = "no_equity"
    MARGIN = "margin"
    EXIT_BAR = "exit_bar"
    GUARD_ERROR = "guard_error"


@customdataclass
class Signal(Data):
    """
    A strategy's wish to open a position, made on one finished bar.

    ``features`` is the full feature row of the bar: float64, little-endian, in the kernel's column order, so a later
    gate or a replay scores exactly what the strategy saw. ``schema`` is the hash of that column order and definitions.
    """

    instrument_id: InstrumentId
    signal_id: str
    strategy: str
    side: str
    strength: float
    reference_price: float
    stop_price: float
    target_price: float
    atr: float
    bar_close: int
    schema: str
    features: bytes
    version: int = MESSAGE_VERSION

    def feature_row(self) -> np.ndarray:
        """Return the features as a float64 vector."""
        return np.frombuffer(self.features, dtype="<f8")


@customdataclass
class Verdict(Data):
    """A gate's answer to one Signal. ``score`` and ``threshold`` are NaN for gates that do not score."""

    instrument_id: InstrumentId
    signal_id: str
    gate: str
    passed: bool
    reason: str
    score: float
    threshold: float
    detail: str
    bar_close: int
    version: int = MESSAGE_VERSION


@customdataclass
class Approval(Data):
    """Size and levels granted to one Signal by the risk guard, as decimal strings on the venue's grid."""

    instrument_id: InstrumentId
    signal_id: str
    strategy: str
    side: str
    quantity: str
    stop_price: str
    target_price: str
    risk_amount: float
    bar_close: int
    version: int = MESSAGE_VERSION


SIGNAL = DataType(Signal)
VERDICT = DataType(Verdict)
APPROVAL = DataType(Approval)


def topic(data_type: Any) -> str:
    """Return the message-bus topic on which ``publish_data(data_type, …)`` is heard."""
    return f"data.{data_type.topic}"


def signal_id(strategy: str, instrument_id: InstrumentId, bar_close: int, side: str) -> str:
    """Return the identity of a signal: the same bar gives the same id in every mode and after a restart."""
    return f"{strategy}:{instrument_id.symbol.value}:{bar_close // 1_000_000}:{side}"
