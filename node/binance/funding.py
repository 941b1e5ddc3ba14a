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
from strategies.market_clock import market_clock
from strategies.records import FundingRecord

if TYPE_CHECKING:
    from node.binance.reports import ReportingExecutionClient

HOUR_MS = 3_600_000
INCOME_ATTEMPTS = 4
INCOME_DELAY_SECS = 0.5
INCOME_LOOKBACK_MS = 5 * 60_000
REMEMBERED = 10_000


def settlement_ms(event_ms: int) -> int:
    """Return the settlement (a whole hour, ms) that a funding event belongs to: it comes seconds after it."""
    return event_ms // HOUR_MS * HOUR_MS


class FundingReporter:
    """
    Publishes a ``FundingRecord`` per symbol and settlement, each once.

    Parameters
    ----------
    client : ReportingExecutionClient
        The execution client that hears the events.
    http : ArgonautBinanceHttpClient
        Signs and sends the income query.
    msgbus, clock : Any
        The client's own.

    """

    def __init__(
        self, client: "ReportingExecutionClient", *, http: ArgonautBinanceHttpClient, msgbus: Any, clock: Any
    ) -> None:
        self._client = client
        self._http = http
        self._msgbus = msgbus
        self._clock = clock
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._attributed: deque[int] = deque(maxlen=REMEMBERED)
        self._turn = asyncio.Lock()

    def on_update(self, update: AccountUpdate) -> None:
        """Publish the payments of one FUNDING_FEE update; with several symbols this happens after a REST look-up."""
        amount = sum((Decimal(b.bc) for b in update.a.B), Decimal(0))
        if amount == 0:
            return
        settled = settlement_ms(update.T)
        symbols = [p.s for p in update.a.P] or self._client.open_position_symbols()
        if len(set(symbols)) == 1:
            self._publish(symbols[0], settled, amount)
            return
        self._client.start_work(self._in_turn(settled, amount, symbols), "funding_split")

    async def _in_turn(self, settled: int, amount: Decimal, symbols: list[str]) -> None:
        # Two events at once would both claim the same income row.
        async with self._turn:
            await self._split(settled, amount, symbols)

    async def _split(self, settled: int, amount: Decimal, symbols: list[str]) -> None:
        last: Exception | None = None
        for attempt in range(INCOME_ATTEMPTS):
            if attempt:
                await asyncio.sleep(INCOME_DELAY_SECS * attempt)
            try:
                rows = _explaining(await self._income(), amount)
            except BinanceError as e:
                last = e
                continue
            if rows:
                for row in rows:
                    self._attributed.append(row.tranId)
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

    async def _income(self) -> list[IncomeRow]:
        """Return the last minutes' payments that no event has been attributed to, newest first."""
        raw = await self._http.sign_request(
            HttpMethod.GET,
            "/fapi/v1/income",
            payload={
                "incomeType": FUNDING_FEE,
                "startTime": str(self._clock.timestamp_ms() - INCOME_LOOKBACK_MS),
                "limit": "1000",
                "timestamp": str(self._clock.timestamp_ms()),
            },
        )
        rows = (r for r in INCOME.decode(raw) if r.incomeType == FUNDING_FEE and r.tranId not in self._attributed)
        return sorted(rows, key=lambda r: (r.time, r.tranId), reverse=True)

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


def _explaining(rows: list[IncomeRow], amount: Decimal) -> list[IncomeRow]:
    """Return the newest row of exactly this amount, else the newest rows that add up to it, else none."""
    exact = next((r for r in rows if Decimal(r.income) == amount), None)
    if exact is not None:
        return [exact]
    total = Decimal(0)
    for count, row in enumerate(rows, 1):
        total += Decimal(row.income)
        if total == amount:
            return rows[:count]
    return []
