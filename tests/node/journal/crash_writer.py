"""
A program that writes a journal until it is killed: ``python crash_writer.py URL FIRST``.

Prints ``accepted N`` after handing over record N and ``flushed N`` once everything up to N is committed. Record N of
each kind is a function of N, so the parent knows what must be there.
"""

import random
import sys

from node.journal import open_journal
from strategies.records import FillRecord, TradeRecord


def fill(number):
    return FillRecord(
        id=f"XRPUSDT/{number}",
        market_time=number,
        wall_time=number,
        client_order_id=f"C-{number}",
        venue_order_id=str(number),
        symbol="XRPUSDT",
        leg="entry",
        side="BUY",
        quantity=f"{number}.5",
        price="2.5",
        fee="0.01",
        liquidity="TAKER",
        event_time=number,
    )


def trade(number):
    return TradeRecord(
        id=f"XRPUSDT/C-{number}",
        market_time=number,
        wall_time=number,
        symbol="XRPUSDT",
        side="LONG",
        entry_time=number,
        entry_price=2.5,
        exit_time=number,
        exit_price=2.6,
        quantity=number + 0.5,
        stop=None,
        target=None,
        exit_reason="TAKE_PROFIT",
        gross_pnl=number * 0.1,
        fees=0.01,
        funding=0.0,
        net_pnl=number * 0.1 - 0.01,
        signal_id=None,
        verdicts=["x" * 200],
    )


def main():
    url, first = sys.argv[1], int(sys.argv[2])
    say = sys.stdout.write
    journal = open_journal(url)
    say("open\n")
    number = max(0, first - 50)  # a restarted node reports some facts again
    chance = random.Random(first)
    while True:
        journal.record(fill(number))
        journal.record(trade(number))
        if chance.random() < 0.05:
            journal.flush()
            say(f"flushed {number}\n")
            sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main()
