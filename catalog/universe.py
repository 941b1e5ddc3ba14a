"""
Which symbols could be traded at an instant: by listing age, turnover, spread and status as they were then.

Survivors get no advantage: every symbol the catalog or any exchangeInfo knew by then is judged, delisted ones too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from catalog.asof import asof, raw_asof
from catalog.quality.findings import DAY_NS, iso
from catalog.quality.series import held
from catalog.reader import BarArrays
from catalog.store import raw_beside
from strategies.errors import DataError
from strategies.yaml_config import FrozenConfig


class Refusal(StrEnum):
    """Why a symbol is not in the universe."""

    NONE = "none"
    NOT_LISTED = "not_listed_yet"
    TOO_YOUNG = "listed_too_recently"
    STATUS = "not_trading"
    NO_DATA = "no_recent_data"
    VOLUME = "turnover_too_small"
    SPREAD = "spread_too_wide"
    SPREAD_UNKNOWN = "spread_unknown"


class UniverseFilter(FrozenConfig, frozen=True):
    """
    What a symbol must have.

    Attributes
    ----------
    interval : str
        Bars from which turnover is counted.
    min_age_days : float
        Since listing: the exchange's onboard date, else the first bar.
    min_daily_turnover : float
        USDT, median of the last `lookback_days` whole days.
    lookback_days : int
        Whole days looked at.
    max_spread_bps : float or None
        Best ask minus best bid, over the middle; None does not ask.
    max_silence_hours : float
        Since the last known bar.

    """

    interval: str = "15m"
    min_age_days: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    min_daily_turnover: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    lookback_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 7
    max_spread_bps: Annotated[float, msgspec.Meta(gt=0)] | None = None
    max_silence_hours: Annotated[float, msgspec.Meta(gt=0)] = 2.0


@dataclass(frozen=True, slots=True)
class Listing:
    """What one exchangeInfo said of a symbol: at (ns), status, onboard (ns, 0 unknown), delivery (ns, 0 none)."""

    at: int
    status: str
    onboard: int
    delivery: int


@dataclass(frozen=True, slots=True)
class Member:
    """A symbol with its verdict and the figures behind it (None: not known)."""

    symbol: str
    refusal: Refusal
    detail: str
    turnover: float | None
    age_days: float | None

    @property
    def admitted(self) -> bool:
        """Whether it may be traded."""
        return self.refusal is Refusal.NONE


def load_listings(paths: Sequence[Path]) -> dict[str, list[Listing]]:
    """
    Return what saved exchangeInfo answers said, by symbol, oldest first.

    Raises
    ------
    DataError
        Propagate: not an exchangeInfo answer, or one without ``serverTime``.

    """
    result: dict[str, list[Listing]] = {}
    for path in paths:
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
            at, symbols = int(data["serverTime"]) * 1_000_000, data["symbols"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise DataError(
                f"{path}: not an exchangeInfo answer ({type(e).__name__}): save GET /fapi/v1/exchangeInfo"
            ) from None
        for item in symbols:
            delivery = int(item.get("deliveryDate", 0)) * 1_000_000
            if delivery > at + 50 * 365 * DAY_NS:  # perpetuals carry the year 2100
                delivery = 0
            listing = Listing(at, str(item.get("status", "")), int(item.get("onboardDate", 0)) * 1_000_000, delivery)
            result.setdefault(str(item["symbol"]), []).append(listing)
    for known in result.values():
        known.sort(key=lambda x: x.at)
    return result


def universe(
    catalog: Path,
    time_ns: int,
    wanted: UniverseFilter,
    *,
    listings: Mapping[str, Sequence[Listing]] | None = None,
    spreads_bps: Mapping[str, float] | None = None,
    root: Path | None = None,
) -> list[Member]:
    """
    Return every symbol known at `time_ns` with its verdict, in alphabetical order.

    Parameters
    ----------
    catalog : Path
        Catalog directory.
    time_ns : int
        UTC ns; only what was known then is used.
    wanted : UniverseFilter
        Conditions.
    listings : mapping of symbol to Listing, optional
        From :func:`load_listings`; answers saved later than `time_ns` only tell onboard dates, which do not change.
    spreads_bps : mapping of symbol to float, optional
        Measured at `time_ns`; default: :func:`measured_spreads` of the raw store's quotes.
    root : Path, optional
        The raw store; default: the one beside the catalog when it is there.

    Raises
    ------
    DataError
        Propagate: a stored file is damaged.

    """
    listings = {} if listings is None else listings
    stored = {symbol for symbol, interval in held(catalog) if interval == wanted.interval}
    symbols = sorted(stored | set(listings))
    root = raw_beside(catalog) if root is None else root
    if spreads_bps is None and wanted.max_spread_bps is not None and root is not None:
        spreads_bps = measured_spreads(root, symbols, time_ns)
    members = []
    for symbol in symbols:
        bars = (
            asof(catalog, symbol, time_ns, (wanted.interval,), root=root).bars.get(wanted.interval)
            if symbol in stored
            else None
        )
        member = _judge(symbol, time_ns, wanted, bars, listings.get(symbol, ()), (spreads_bps or {}).get(symbol))
        if member.refusal is not Refusal.NOT_LISTED:
            members.append(member)
    return members


def measured_spreads(root: Path, symbols: Sequence[str], time_ns: int, minutes: float = 60.0) -> dict[str, float]:
    """
    Return the median spread of the quotes known in the last `minutes` before `time_ns`, by symbol, basis points.

    Symbols without a stored quote in that time are left out.

    Raises
    ------
    DataError
        Propagate: a stored day is damaged.

    """
    found = {}
    for symbol in symbols:
        quotes = raw_asof(root, "book_ticker", symbol, time_ns, start_ns=time_ns - round(minutes * 60_000_000_000))
        if quotes is None:
            continue
        bid, ask = (quotes[f"best_{side}_price"].cast(pa.float64()).to_numpy() for side in ("bid", "ask"))
        found[symbol] = float(np.median((ask - bid) / (ask + bid) * 20_000))
    return found


def _judge(
    symbol: str,
    time_ns: int,
    wanted: UniverseFilter,
    bars: BarArrays | None,
    listings: Sequence[Listing],
    spread: float | None,
) -> Member:
    onboard = next((x.onboard for x in listings if x.onboard), 0)
    born = onboard or (int(bars.open_time[0]) if bars is not None else 0)
    if not born or born > time_ns:
        return Member(symbol, Refusal.NOT_LISTED, "not known at that time", None, None)
    age = (time_ns - born) / DAY_NS
    turnover = None if bars is None else _turnover(bars, time_ns, wanted.lookback_days)

    def refused(reason: Refusal, detail: str) -> Member:
        return Member(symbol, reason, detail, turnover, age)

    then = [x for x in listings if x.at <= time_ns]
    if then and then[-1].status != "TRADING":
        return refused(Refusal.STATUS, f"{then[-1].status} since {iso(then[-1].at)} at the latest")
    if any(x.delivery and x.delivery <= time_ns for x in listings):
        return refused(Refusal.STATUS, "delivered")
    if age < wanted.min_age_days:
        return refused(Refusal.TOO_YOUNG, f"{age:.1f} days old, {wanted.min_age_days:g} asked")
    if bars is None or turnover is None:
        return refused(Refusal.NO_DATA, f"no {wanted.interval} bars by then")
    silence = (time_ns - int(bars.open_time[-1])) / 3_600_000_000_000
    if silence > wanted.max_silence_hours:
        return refused(Refusal.NO_DATA, f"last bar opened {silence:.1f} h before")
    if turnover < wanted.min_daily_turnover:
        return refused(Refusal.VOLUME, f"{turnover:.0f} USDT a day, {wanted.min_daily_turnover:.0f} asked")
    if wanted.max_spread_bps is not None:
        if spread is None:
            return refused(Refusal.SPREAD_UNKNOWN, "no quotes")
        if spread > wanted.max_spread_bps:
            return refused(Refusal.SPREAD, f"{spread:.1f} bps, {wanted.max_spread_bps:g} allowed")
    return Member(symbol, Refusal.NONE, "", turnover, age)


def _turnover(bars: BarArrays, time_ns: int, days: int) -> float:
    """Return the median of close times volume over the last whole days; days without bars count as zero."""
    today = time_ns // DAY_NS
    day = bars.open_time // DAY_NS
    recent = (day >= today - days) & (day < today)
    sums = np.bincount(
        (day[recent] - (today - days)).astype(np.int64),
        weights=(bars.close * bars.volume)[recent],
        minlength=days,
    )
    return float(np.median(sums))
