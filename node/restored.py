"""What a start hands on: the journal's and the venue's account of the past to the actors, memory to the collector."""

import gc

from actors.ledger import RestoredLedger
from actors.risk_state import ACCOUNT, Latch, RestoredRisk
from node.journal import Restore
from strategies.records import FillRecord, FundingRecord

_DAY_NS = 86_400_000_000_000
_LATCH_OF_CODE = {
    "pause": Latch.PAUSED,
    "kill": Latch.KILLED,
    "daily_loss": Latch.DAILY_LOSS,
    "fast_kill": Latch.FAST_KILL,
    "slow_kill": Latch.SLOW_KILL,
}


def settle_memory() -> None:
    """Take what a start leaves for good out of the garbage collector's sight: looking at it takes 0.1 s or more."""
    gc.collect()
    gc.freeze()  # who collects from here on: node.collector


def restored_risk(restore: Restore) -> RestoredRisk:
    """Return what the guard must remember, from the journal."""
    day = None if restore.market_time is None else restore.market_time // _DAY_NS
    return RestoredRisk(
        trade_pnls={s: found.closed_pnls for s, found in restore.symbols.items() if found.closed_pnls},
        latches=[(_LATCH_OF_CODE[latch.code], latch.symbol or ACCOUNT) for latch in restore.latches],
        day=day if restore.day_start is not None else None,
        day_start_equity=restore.day_start_equity,
    )


def restored_ledger(restore: Restore, missed: list[FillRecord], missed_funding: list[FundingRecord]) -> RestoredLedger:
    """Return the open positions' history, from the journal and, since it ended, from the venue."""
    fills = sorted((f for s in restore.symbols.values() for f in s.open_fills), key=lambda f: f.event_time)
    return RestoredLedger(
        fills=fills,
        funding=[f for s in restore.symbols.values() for f in s.open_funding],
        missed=missed,
        missed_funding=missed_funding,
        seen_fills=[i for s in restore.symbols.values() for i in s.known_fill_ids],
        verdicts={i: v for s in restore.symbols.values() for i, v in s.verdicts.items()},
    )
