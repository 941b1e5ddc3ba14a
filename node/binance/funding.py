"""
Funding payments, from the user stream's balance changes to one record per symbol and settlement.

For a cross-margin position Binance reports the balance change only, without the symbol. With one open position the
symbol is certain; with several the payment is split by the account's income history, which is authoritative. The same
history tells of payments whose event was lost.
"""

import asyncio
from collections import Counter, deque
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
LATE_EVENT_MS = 10 * 60_000
"""How long after a payment was found in the history its event may still come."""
REMEMBERED = 10_000
JOINT, UNKNOWN = "+", "UNKNOWN"
"""What stands for the symbol of a payment that could not be split: the symbols it may be of, or no more than this."""


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
    replay : bool
        The venue's market time is not its wall time: a row of the history does not tell which settlement it is.

    """

    def __init__(
        self,
        client: "ReportingExecutionClient",
        *,
        http: ArgonautBinanceHttpClient,
        msgbus: Any,
        clock: Any,
        replay: bool = False,
    ) -> None:
        self._client = client
        self._http = http
        self._msgbus = msgbus
        self._clock = clock
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._attributed: deque[int] = deque(maxlen=REMEMBERED)
        self._turn = asyncio.Lock()
        self._replay = replay
        self._since_ms: int = clock.timestamp_ms()
        self._told: deque[tuple[str, Decimal]] = deque(maxlen=REMEMBERED)
        self._unexplained: list[Decimal] = []
        self._caught: list[IncomeRow] = []
        self._heard: deque[tuple[Any, ...]] = deque(maxlen=REMEMBERED)

    def on_update(self, update: AccountUpdate) -> None:
        """Publish the payments of one FUNDING_FEE update; with several symbols this happens after a REST look-up."""
        amount = sum((Decimal(b.bc) for b in update.a.B), Decimal(0))
        # Two payments differ in the wallet they leave behind; the same message again is the same payment. The income
        # row it would look for is taken already, so it would be booked a second time as one nobody can explain.
        heard = (update.T, *((b.a, b.wb, b.cw, b.bc) for b in update.a.B), *(p.s for p in update.a.P))
        if amount == 0 or heard in self._heard:
            return
        self._heard.append(heard)
        settled = settlement_ms(update.T)
        symbols = [p.s for p in update.a.P] or self._client.open_position_symbols()
        if len(set(symbols)) == 1:
            if not self._told_before(amount, symbols[0]):
                self._publish(symbols[0], settled, amount)
            return
        self._client.start_work(self._in_turn(settled, amount, symbols), "funding_split")

    async def catch_up(self) -> None:
        """
        Publish the payments of this client's life that no event told of: lost with a stream, or silently.

        Errors: **propagate** (``BinanceError``: the history cannot be read; nothing was published).
        """
        async with self._turn:
            rows = await self._income(self._since_ms)
            known = Counter(self._told)
            untold = []
            for row in reversed(rows):
                key = (row.symbol, Decimal(row.income))
                if known[key] > 0:
                    known[key] -= 1
                else:
                    untold.append(row)
            for amount in list(self._unexplained):  # told as a sum when the history did not have it yet
                if explained := explaining_anywhere(untold[::-1], amount):
                    self._unexplained.remove(amount)
                    self._attributed.extend(r.tranId for r in explained)
                    untold = [r for r in untold if r not in explained]
            for row in untold:
                self._attributed.append(row.tranId)
                self._caught.append(row)
                settled = f"transaction-{row.tranId}" if self._replay else settlement_ms(row.time)
                self._publish(row.symbol, settled, Decimal(row.income))
            # One page holds a thousand rows: a long life must not ask for all of it.
            self._since_ms = max(self._since_ms, self._clock.timestamp_ms() - HOUR_MS)

    def _told_before(self, amount: Decimal, symbol: str | None = None) -> bool:
        """Return whether an event comes too late: its payment was found in the history before."""
        oldest = self._clock.timestamp_ms() - LATE_EVENT_MS
        self._caught = [r for r in self._caught if r.time >= oldest]
        rows = explaining([r for r in reversed(self._caught) if symbol in (None, r.symbol)], amount)
        self._caught = [r for r in self._caught if r not in rows]
        return bool(rows)

    async def _in_turn(self, settled: int, amount: Decimal, symbols: list[str]) -> None:
        # Two events at once would both claim the same income row.
        async with self._turn:
            if not self._told_before(amount):
                await self._split(settled, amount, symbols)

    async def _split(self, settled: int, amount: Decimal, symbols: list[str]) -> None:
        last: Exception | None = None
        for attempt in range(INCOME_ATTEMPTS):
            if attempt:
                await asyncio.sleep(INCOME_DELAY_SECS * attempt)
            try:
                rows = explaining(await self._income(self._clock.timestamp_ms() - INCOME_LOOKBACK_MS), amount)
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
        name = JOINT.join(sorted(set(symbols))) or UNKNOWN
        self._unexplained.append(amount)
        self._publish(name, settled, amount)

    async def _income(self, since_ms: int) -> list[IncomeRow]:
        """Return the payments since then that no event has been attributed to, newest first."""
        raw = await self._http.sign_request(
            HttpMethod.GET,
            "/fapi/v1/income",
            payload={
                "incomeType": FUNDING_FEE,
                "startTime": str(since_ms),
                "limit": "1000",
                "timestamp": str(self._clock.timestamp_ms()),
            },
        )
        rows = (r for r in INCOME.decode(raw) if r.incomeType == FUNDING_FEE and r.tranId not in self._attributed)
        return sorted(rows, key=lambda r: (r.time, r.tranId), reverse=True)

    def _publish(self, symbol: str, settled: int | str, amount: Decimal) -> None:
        # What was told before is out by now: each of several payments of one settlement is money, with its own id.
        record_id, count = f"{symbol}/{settled}", 1
        while record_id in self._seen:
            count += 1
            record_id = f"{symbol}/{settled}-{count}"
        self._seen.append(record_id)
        self._told.append((symbol, amount))
        record = FundingRecord(
            id=record_id,
            market_time=market_clock(self._msgbus).now,
            wall_time=self._clock.timestamp_ns(),
            symbol=symbol,
            amount=float(amount),
            rate=None,
        )
        self._msgbus.publish(record.topic, record)


def explaining_anywhere(newest_first: list[IncomeRow], amount: Decimal) -> list[IncomeRow]:
    """Return what :func:`explaining` finds, beginning at the newest row that lets it find anything."""
    runs = (explaining(newest_first[n:], amount) for n in range(len(newest_first)))
    return next(filter(None, runs), [])


def explaining(rows: list[IncomeRow], amount: Decimal) -> list[IncomeRow]:
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
