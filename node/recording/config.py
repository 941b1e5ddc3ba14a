"""What is recorded, and where from: the `record` section of a node, and the whole of a recorder without a node."""

from typing import Annotated, Literal

import msgspec

from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig

type Symbol = Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{4,20}$")]
type Interval = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]


class RecordingConfig(FrozenConfig, frozen=True):
    """
    What a recorder keeps.

    Attributes
    ----------
    directory : str
        Segments and tape; one recorder a directory.
    raw : str
        The raw store that bars, trades, quotes, funding, open interest, ratios and forced orders go to; empty: none.
    intervals : tuple[str, ...]
        Of the bars.
    trades, quotes, marks, liquidations, statistics : bool
        Aggregate trades; best bid and ask; mark and index price; forced orders; funding, open interest and ratios.
    poll_secs : float
        Between two questions for statistics.
    most_waiting : int
        Records that may wait for the disk before further ones are dropped (and told).
    segment_mb : int
        Size of a segment.

    """

    directory: str = "var/recording"
    raw: str = "var/raw"
    intervals: tuple[Interval, ...] = ("1m",)
    trades: bool = True
    quotes: bool = True
    marks: bool = True
    liquidations: bool = True
    statistics: bool = True
    poll_secs: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 60.0
    most_waiting: Annotated[int, msgspec.Meta(ge=100, le=10_000_000)] = 200_000
    segment_mb: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64


class RecordConfig(FrozenConfig, frozen=True):
    """
    The whole tree of `config/record.yaml`: a recorder without trading needs no key.

    Attributes
    ----------
    symbols : tuple[str, ...]
        What to record.
    environment : {"live", "testnet", "demo", "venue"}
        Whose market. ``venue``: a simulated one, which needs both URLs.
    base_url_http, base_url_ws : str or None
        Other addresses than the exchange's own.

    """

    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1)]
    environment: Literal["live", "testnet", "demo", "venue"] = "live"
    base_url_http: str | None = None
    base_url_ws: str | None = None
    trader_id: Annotated[str, msgspec.Meta(pattern="^[A-Z]+-[0-9]+$")] = "RECORDER-001"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "OFF"] = "WARNING"
    record: RecordingConfig = RecordingConfig()

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols: the same symbol is named twice")
        if self.environment == "venue" and not (self.base_url_http and self.base_url_ws):
            raise ValueError("base_url_http and base_url_ws: needed for environment venue")


def checked(config: RecordConfig) -> RecordConfig:
    """
    Return the configuration if it records anything.

    Raises
    ------
    ConfigError
        Fatal: nothing is to be recorded.

    """
    record = config.record
    if not (
        record.intervals or record.trades or record.quotes or record.marks or record.liquidations or record.statistics
    ):
        raise ConfigError("record: nothing is to be recorded: name intervals or switch a stream on")
    return config
