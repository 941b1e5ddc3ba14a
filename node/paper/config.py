"""Configuration of the paper venue: where the market comes from, what the account is, where its books are kept."""

from typing import Annotated, Literal

from msgspec import Meta

from node.venue.config import (
    AccountConfig,
    DataConfig,
    ExecutionConfig,
    LimitsConfig,
    ReplayConfig,
    Symbol,
    VenueConfig,
)
from strategies.yaml_config import FrozenConfig


class UpstreamConfig(FrozenConfig, frozen=True):
    """
    The exchange whose public data are mirrored. No key is used and nothing is ever sent to an account there.

    Attributes
    ----------
    http, ws : str or None
        Base URLs; None: Binance's own, from the official adapter's tables.
    timeout_secs : float
        Total time of one REST request.
    silence_secs : float
        A stream without a message for so long is connected anew.
    funding_poll_secs : float
        Seconds between two questions for a settlement that is due.

    """

    http: str | None = None
    ws: str | None = None
    timeout_secs: Annotated[float, Meta(gt=0, le=60)] = 10.0
    silence_secs: Annotated[float, Meta(ge=1, le=600)] = 30.0
    funding_poll_secs: Annotated[float, Meta(ge=0.1, le=3600)] = 20.0


class PaperConfig(FrozenConfig, frozen=True):
    """
    The whole tree of `config/paper-venue.yaml`.

    Attributes
    ----------
    symbols : tuple[str, ...]
        Symbols mirrored.
    interval : str
        Bar interval of the strategy.
    history_bars : int
        Finished bars fetched at start; the exchange gives 1499 at once.
    state : str
        File with the books; removing it (while nothing runs) opens a new account.
    host, port, api_key, api_secret, listen_key_secs, account, execution, limits
        As in the simulated venue's configuration.

    """

    upstream: UpstreamConfig = UpstreamConfig()
    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
    interval: str = "15m"
    history_bars: Annotated[int, Meta(ge=1, le=1_499)] = 1_499
    state: str = "var/paper/state.json"
    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    api_key: str = "demo"
    api_secret: str = "demo"  # noqa: S105 - the well-known secret of a simulated account
    listen_key_secs: Annotated[float, Meta(gt=0)] = 3600.0
    account: AccountConfig = AccountConfig()
    execution: ExecutionConfig = ExecutionConfig()
    limits: LimitsConfig = LimitsConfig(enforce=True)

    def venue(self) -> VenueConfig:
        """Return the configuration of the venue inside: no replay, no marks of its own."""
        return VenueConfig(
            host=self.host,
            port=self.port,
            api_key=self.api_key,
            api_secret=self.api_secret,
            listen_key_secs=self.listen_key_secs,
            data=DataConfig(interval=self.interval, symbols=self.symbols, history_bars=self.history_bars),
            account=self.account,
            execution=self.execution,
            limits=self.limits,
            replay=ReplayConfig(start="on_node", mark_price_secs=0),
        )
