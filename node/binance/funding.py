"""
Funding payments, from the user stream's balance changes to one record per symbol and settlement.

For a cross-margin position Binance reports the balance change only, without the symbol. With one open position the
symbol is certain; with several the payment is split by the account's income history, which is authoritative.
"""

import asyncio
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.nautilus_pyo3 import HttpMethod

from node.binance.http import ArgonautBinanceHttpClient
from node.binance.incidents import publish_incident
from node.binance.user_events import FUNDING_FEE, INCOME, AccountUpdate, IncomeRow
from strategies.market_clock import NANOS_PER_MILLI, market_clock
from strategies.records import FundingRecord

if TYPE_CHECKING:
    from node.binance.reconciliation import ReconcilingExecutionClient

HOUR_MS = 3_600_000
INCOME_ATTEMPTS = 4
INCOME_DELAY_SECS = 0.5
REMEMBERED = 10_000


def settlement_ms(event_ms: int, market_now_ns: int | None) -> int:
    """
    Return the settlement (a whole hour of market time, ms) that a funding event at `event_ms` wall time belongs to.

    In live trading market and wall time agree, and the event comes seconds after the settlement: its own time decides,
    as the bar that ends there may not have arrived yet. In a replay market time is far from wall time: the bars decide.
    """
    if market_now_ns is None:
        return event_ms // HOUR_MS * HOUR_MS
    market_ms = market_now_ns // NANOS_PER_MILLI
    base = event_ms if abs(event_ms - market_ms) <= HOUR_MS else market_ms
    return base // HOUR_MS * HOUR_MS


class FundingReporter:
    """
    Publishes a ``FundingRecord`` per symbol and settlement, each once.

    Parameters
    ----------
    client : ReconcilingExecutionClient
        The execution client that hears the events.
    http : ArgonautBinanceHttpClient
        Signs and sends the income query.
    msgbus, clock : Any
        The client's own.

    """

    def __init__(
        self, client: "ReconcilingExecutionClient", *, http: ArgonautBinanceHttpClient, msgbus: Any, clock: Any
    ) -> None:
        self._client = client
        self._http = http
        self._msgbus = msgbus
        self._clock = clock
        self._seen: deque[str] = deque(maxlen=REMEMBERED)

    def on_update(self, update: AccountUpdate) -> None:
        """Publish the payments of one FUNDING_FEE update; with several symbols this happens after a REST look-up."""
        amount = sum((Decimal(b.bc) for b in update.a.B), Decimal(0))
        if amount == 0:
            return
        settled = settlement_ms(update.T, market_clock(self._msgbus).now)
        symbols = [p.s for p in update.a.P] or self._client.open_position_symbols()
        if len(set(symbols)) == 1:
            self._publish(symbols[0], settled, amount)
            return
        self._client.start_work(self._split(update.T, settled, amount, symbols), "funding_split")

    async def _split(self, event_ms: int, settled: int, amount: Decimal, symbols: list[str]) -> None:
        last: Exception | None = None
        for attempt in range(INCOME_ATTEMPTS):
            if attempt:
                await asyncio.sleep(INCOME_DELAY_SECS * attempt)
            try:
                rows = await self._income(event_ms)
            except BinanceError as e:
                last = e
                continue
            if sum((Decimal(r.income) for r in rows), Decimal(0)) == amount or self._covers(rows, amount):
                for row in rows:
                    self._publish(row.symbol, settled, Decimal(row.income))
                return
        publish_incident(
            self._msgbus,
            self._clock,
            severity="warning",
            code="FUNDING_UNATTRIBUTED",
            message=f"funding of {amount} could not be split among {', '.join(symbols) or 'no position'}: "
            f"{last or 'the income history does not contain it'}",
        )
        self._publish("+".join(sorted(set(symbols))) or "UNKNOWN", settled, amount)

    async def _income(self, event_ms: int) -> list[IncomeRow]:
        raw = await self._http.sign_request(
            HttpMethod.GET,
            "/fapi/v1/income",
            payload={
                "incomeType": FUNDING_FEE,
                "startTime": str(event_ms - HOUR_MS // 60),
                "limit": "1000",
                "timestamp": str(self._clock.timestamp_ms()),
            },
        )
        # In a fast replay one minute of wall time holds several settlements: the newest row of a symbol is this one.
        newest: dict[str, IncomeRow] = {}
        for row in sorted(INCOME.decode(raw), key=lambda r: r.time):
            if row.incomeType == FUNDING_FEE:
                newest[row.symbol] = row
        return list(newest.values())

    @staticmethod
    def _covers(rows: list[IncomeRow], amount: Decimal) -> bool:
        # One event per symbol: the rows hold this payment among its siblings.
        return any(Decimal(r.income) == amount for r in rows)

    def _publish(self, symbol: str, settled: int, amount: Decimal) -> None:
        record_id = f"{symbol}/{settled}"
        if record_id in self._seen:
            return
        self._seen.append(record_id)
        record = FundingRecord(
            id=record_id,
            market_time=market_clock(self._msgbus).now,
            wall_time=self._clock.timestamp_ns(),
            symbol=symbol,
            amount=float(amount),
            rate=None,
        )
        self._msgbus.publish(record.topic, record)
