"""The account as the engine's cache knows it: wallet balance, and open positions valued at the last bar closes."""

from decimal import Decimal
from typing import Any

from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import PositionSide
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.objects import Currency

from strategies.messages import Side

PERPETUAL = "-PERP"
_NOTHING = Decimal(0)
_HEARD_MOST = 64
PRICE_FIRST = 850
"""Bus priority for noting bar closes: after the market clock and funding, before every component that decides."""


def venue_symbol(instrument_id: InstrumentId) -> str:
    """Return the venue's symbol (``XRPUSDT``) of ``XRPUSDT-PERP.BINANCE``."""
    return str(instrument_id.symbol.value).removesuffix(PERPETUAL)


def side_of(position: Any) -> Side:
    """Return the direction of an open Nautilus position."""
    return Side.LONG if position.side == PositionSide.LONG else Side.SHORT


class AccountView:
    """
    Balance, unrealised profit and equity, in decimals of the account's currency.

    Total balance is used, never free balance: the real and the simulated account lock margin differently
    (`knowledge/replay-on-live-node.md` §5).

    Parameters
    ----------
    cache : CacheFacade
        The engine's cache.
    venue : str
        Whose account is looked at.
    currency : str
        Settlement currency.

    """

    def __init__(self, cache: Any, venue: str, currency: str) -> None:
        self._cache = cache
        self._venue = Venue(venue)
        self._currency = Currency.from_str(currency)
        self._bars: dict[InstrumentId, Bar] = {}
        self._heard: list[Bar] = []
        self._raw: int | None = None
        self._quiet_since: Any = None
        self._balance: Decimal | None = None

    def note(self, bar: Bar) -> None:
        """Remember `bar`; which instrument it is of is found out when somebody asks, as on few bars anybody does."""
        self._heard.append(bar)
        if len(self._heard) > _HEARD_MOST:
            self._sort()

    def note_newest(self, bars: list[Bar]) -> None:
        """Remember `bars`, one of each instrument, as :meth:`note` does."""
        self._heard.extend(bars)
        self._sort()

    def newest(self, instrument_id: InstrumentId) -> Bar | None:
        """Return the last bar noted of an instrument, or None."""
        if self._heard:
            self._sort()
        return self._bars.get(instrument_id)

    def _sort(self) -> None:
        for bar in self._heard:
            self._bars[bar.bar_type.instrument_id] = bar
        self._heard.clear()

    def price(self, instrument_id: InstrumentId) -> Decimal | None:
        """Return the last close seen (after a restart: requested history's last), or None (unavailable)."""
        newest = self.newest(instrument_id)
        if newest is None:
            bars = [self._cache.bar(t) for t in self._cache.bar_types(instrument_id=instrument_id)]
            newest = max((bar for bar in bars if bar is not None), key=lambda bar: bar.ts_event, default=None)
        return None if newest is None else newest.close.as_decimal()

    def balance(self) -> Decimal | None:
        """Return the wallet balance without unrealised profit, or None while there is no account (unavailable)."""
        account = self._cache.account_for_venue(self._venue)
        total = None if account is None else account.balance_total(self._currency)
        if total is None:
            return None
        raw = total.raw
        if raw != self._raw:
            self._raw, self._balance = raw, total.as_decimal()
        return self._balance

    def quiet(self) -> bool:
        """
        Return whether there is no position and the account is as it was when this was last asked: nothing to work out.

        Between events only, as on a bar: while a fill is being booked the balance moves before the account says so.
        """
        account = self._cache.account_for_venue(self._venue)
        if account is None or self._cache.positions_open_count():
            self._quiet_since = None
            return False
        before, self._quiet_since = self._quiet_since, account.last_event
        return self._quiet_since is before

    def at_rest(self) -> bool:
        """Return whether nothing is open or under way and the account is as it was when :meth:`quiet` was asked."""
        cache = self._cache
        if cache.positions_open_count() or cache.orders_open_count() or cache.orders_inflight_count():
            return False
        account = cache.account_for_venue(self._venue)
        return account is not None and account.last_event is self._quiet_since and not cache.orders_emulated_count()

    def positions(self) -> list[Any]:
        """Return the open positions of the venue, ordered by instrument."""
        if not self._cache.positions_open_count():
            return []
        positions = self._cache.positions_open()
        ours = [p for p in positions if p.instrument_id.venue == self._venue]
        return sorted(ours, key=lambda p: p.instrument_id.value) if len(ours) > 1 else ours

    def unrealized(self, positions: list[Any] | None = None) -> Decimal | None:
        """Return the profit of all open positions at the last closes, or None if one has no price (unavailable)."""
        total = _NOTHING
        for position in self.positions() if positions is None else positions:
            price = self.price(position.instrument_id)
            if price is None:
                return None
            opened = Decimal(repr(position.avg_px_open))
            total += side_of(position).sign * position.quantity.as_decimal() * (price - opened)
        return total

    def equity(self) -> Decimal | None:
        """Return balance plus unrealised profit, or None if either is unknown (unavailable)."""
        balance, positions = self.balance(), self.positions()
        if balance is None or not positions:
            return balance
        unrealized = self.unrealized(positions)
        return None if unrealized is None else balance + unrealized
