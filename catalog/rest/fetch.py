"""
Back-fill: the holes of the raw store in a time range, fetched page by page and stored as they come.

Nothing remembers how far a run came: every run looks for holes, so a run that was killed is gone on with by the next.
A page is stored before the next but few are asked for; a day is exchanged whole, so a kill loses at most those few.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.checks import iso
from catalog.instruments import interval_ns
from catalog.raw.kinds import KINDS
from catalog.raw.writer import put_rows
from catalog.rest.client import PublicRest
from catalog.rest.holes import Range, grid_holes, id_holes
from catalog.rest.sources import (
    AGG_TRADES_LIMIT,
    AGG_TRADES_PATH,
    AGG_TRADES_WEIGHT,
    AGG_TRADES_WINDOW_MS,
    DAY_MS,
    MS,
    SOURCES,
    Columns,
    Source,
    joined,
    kline_weight,
    trade_columns,
)
from strategies.errors import DataError, VenueError

ROWS_PER_COMMIT = 20_000


@dataclass(slots=True)
class Fetched:
    """What one series got: rows fetched, what the exchange does not have, how far back it answers."""

    kind: str
    symbol: str
    interval: str | None
    rows: int = 0
    holes: int = 0
    missing: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    days: list[str] = field(default_factory=list)


class Backfill:
    """
    Fetches series into a raw store.

    Parameters
    ----------
    rest : PublicRest
        Opened.
    root : Path
        The raw store.
    replace : bool
        Fetched rows win over stored ones that differ.
    advance : Callable[[int], None]
        Told how many milliseconds of the range are done.
    rows_per_commit : int
        Stored at once.
    wait_seconds : float
        For another writer.

    """

    def __init__(
        self,
        rest: PublicRest,
        root: Path,
        *,
        replace: bool = False,
        advance: Callable[[int], None] = lambda _ms: None,
        rows_per_commit: int = ROWS_PER_COMMIT,
        wait_seconds: float = 60.0,
    ) -> None:
        self._rest = rest
        self._root = root
        self._replace = replace
        self._advance = advance
        self._most = rows_per_commit
        self._wait = wait_seconds
        self._pending: Columns = {}

    async def series(self, kind: str, symbol: str, interval: str | None, start_ms: int, end_ms: int | None) -> Fetched:
        """
        Fetch what is missing of ``[start, end)``; without an end up to what is finished now.

        Raises
        ------
        VenueError
            Propagate: the exchange refuses or does not answer; what came before is stored.
        DataError
            Propagate: an answer breaks the kind's rules or contradicts stored rows; what came before is stored.

        """
        done = Fetched(kind, symbol, interval)
        self._pending = {}
        await self._rest.synchronise()
        now = self._rest.now_ms()
        end = now if end_ms is None else min(end_ms, now)
        try:
            if kind == "agg_trades":
                await self._trades(done, start_ms, end)
            else:
                await self._by_time(done, SOURCES[kind], start_ms, end)
            self._commit(done)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise VenueError(f"{kind} of {symbol}: an answer has another form than documented: {e!r}") from None
        return done

    # -- series by time ------------------------------------------------------------------------------------------------

    async def _by_time(self, done: Fetched, source: Source, start_ms: int, end_ms: int) -> None:
        if source.days_back is not None:
            # A minute of room: the exchange's clock moves on between this and the last request.
            oldest = self._rest.now_ms() - source.days_back * DAY_MS + 60_000
            if start_ms < oldest:
                done.notes.append(
                    f"the exchange has the last {source.days_back} days only: before {iso(oldest * MS)} use "
                    "`python -m catalog.raw fetch metrics`"
                )
                start_ms = oldest
        step = interval_ns(done.interval or source.period or "1m")
        for low, high in self._holes(source, done, step, start_ms, end_ms):
            done.holes += 1
            await self._range(done, source, low // MS, high // MS, step // MS)
        self._commit(done)
        left = self._holes(source, done, step, start_ms, end_ms) if source.grid else []
        done.missing = [[iso(low), iso(high)] for low, high in left]

    def _holes(self, source: Source, done: Fetched, step: int, start_ms: int, end_ms: int) -> list[Range]:
        if not source.grid:
            # How often a symbol settles changes, so a hole cannot be told; a year of settlements is one or two answers.
            return [(start_ms * MS, end_ms * MS)]
        # A bar that has not closed is not asked for; statistics are stamped at the start of a period as well.
        return grid_holes(
            self._root, source.kind, done.symbol, done.interval, step, start_ms * MS, end_ms * MS // step * step
        )

    async def _range(self, done: Fetched, source: Source, low: int, high: int, step: int) -> None:
        time_name = KINDS[source.kind].columns[0].name
        while low < high:
            until = min(high, low + source.limit * step) if source.grid else high
            wanted = min(source.limit, max((until - low) // step, 1)) if source.grid else source.limit
            parameters: dict[str, Any] = {source.symbol_name: done.symbol, "startTime": low, "endTime": until - 1}
            parameters |= {"limit": wanted}
            if done.interval:
                parameters["interval"] = done.interval
            if source.period:
                parameters["period"] = source.period
            weight = kline_weight(wanted) if source.weight > 1 else source.weight
            answers = {path: await self._rest.get(path, parameters, weight=weight) for path in source.paths}
            columns = joined(source, answers, time_name, low, until)
            self._keep(done, columns)
            full = not source.grid and len(columns[time_name]) >= source.limit
            reached = columns[time_name][-1] // MS + 1 if full else until
            self._advance(reached - low)
            low = reached

    # -- trades by identifier ------------------------------------------------------------------------------------------

    async def _trades(self, done: Fetched, start_ms: int, end_ms: int) -> None:
        found, stored = id_holes(self._root, "agg_trades", done.symbol, start_ms * MS, end_ms * MS)
        first = await self._first_trade(done.symbol, start_ms, end_ms)
        if first is None:
            done.notes.append("the exchange names no trade in the range")
            return
        if stored is None:
            found = [(first, 2**62)]
        else:
            head = [(first, stored[0])] if first < stored[0] else []
            found = [*head, *found, (stored[1] + 1, 2**62)]
        for low, high in found:
            done.holes += 1
            await self._identifiers(done, low, high, start_ms, end_ms)

    async def _first_trade(self, symbol: str, start_ms: int, end_ms: int) -> int | None:
        """Return the first identifier at or after `start_ms`: the exchange looks at less than an hour at a time."""
        while start_ms < end_ms:
            until = min(start_ms + AGG_TRADES_WINDOW_MS, end_ms - 1)
            rows = await self._rest.get(
                AGG_TRADES_PATH,
                {"symbol": symbol, "startTime": start_ms, "endTime": until, "limit": 1},
                weight=AGG_TRADES_WEIGHT,
            )
            if rows:
                return int(rows[0]["a"])
            start_ms = until + 1
        return None

    async def _identifiers(self, done: Fetched, low: int, high: int, start_ms: int, end_ms: int) -> None:
        at = start_ms
        while low < high:
            rows = await self._rest.get(
                AGG_TRADES_PATH,
                {"symbol": done.symbol, "fromId": low, "limit": AGG_TRADES_LIMIT},
                weight=AGG_TRADES_WEIGHT,
            )
            rows = [row for row in rows if low <= int(row["a"]) < high]
            if not rows:
                return
            self._keep(done, trade_columns(rows, start_ms, end_ms))
            newest = int(rows[-1]["T"])
            self._advance(max(min(newest, end_ms) - at, 0))
            at = max(at, newest)
            if newest >= end_ms:
                return
            low = int(rows[-1]["a"]) + 1

    # -- storing -------------------------------------------------------------------------------------------------------

    def _keep(self, done: Fetched, columns: Columns) -> None:
        for name, values in columns.items():
            self._pending.setdefault(name, []).extend(values)
        if len(next(iter(self._pending.values()))) >= self._most:
            self._commit(done)

    def _commit(self, done: Fetched) -> None:
        pending, self._pending = self._pending, {}
        count = len(next(iter(pending.values()), []))
        if not count:
            return
        try:
            report = put_rows(
                pending,
                source=f"{done.kind} of {done.symbol} from the exchange",
                root=self._root,
                kind=done.kind,
                symbol=done.symbol,
                interval=done.interval,
                replace=self._replace,
                now_ns=self._rest.now_ms() * MS,
                wait_seconds=self._wait,
            )
        except DataError as e:
            raise DataError(f"{e}; {done.rows} rows before it are stored") from None
        done.rows += count
        done.days = sorted({*done.days, *report.written})
        done.notes += [note for note in report.warnings if "empty" in note and note not in done.notes]
