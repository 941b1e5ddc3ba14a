"""What a person sees of a run: tables in the terminal, JSON for machines. Times are ISO-8601 UTC outside."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
from rich.console import Console
from rich.table import Table

from catalog.instruments import interval_ns
from node.config import format_time
from strategies.errors import ConfigError
from strategies.records import Record, TradeRecord

if TYPE_CHECKING:
    from node.backtest_run import BacktestResult
    from node.statistics import Statistics


_INSIDE_A_BAR = ("STOP_LOSS", "TAKE_PROFIT", "TRAILING_STOP", "LIQUIDATION")


def record_to_plain(record: Record) -> dict[str, Any]:
    """Return a record as plain data with every ``*_time`` in ISO-8601."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    for key, value in plain.items():
        if key.endswith("_time") and isinstance(value, int):
            plain[key] = format_time(value)
    return plain


def trade_to_plain(trade: TradeRecord, bar_ns: int) -> dict[str, Any]:
    """
    Return a trade as plain data, with the *opening* times of the bars it belongs to beside its instants.

    An entry is sent when a bar closes: ``entry_bar`` opened one bar before ``entry_time``. A stop or target fills
    inside a bar: its time is the close of the bar before, which is the opening of the ``exit_bar``. Other exits are
    sent on a close, like entries.
    """
    inside = trade.exit_reason in _INSIDE_A_BAR
    bars = {
        "entry_bar": None if trade.entry_time is None else format_time(trade.entry_time - bar_ns),
        "exit_bar": None if trade.exit_time is None else format_time(trade.exit_time - (0 if inside else bar_ns)),
    }
    return {**record_to_plain(trade), **bars}


def result_to_plain(result: "BacktestResult") -> dict[str, Any]:
    """Return a backtest result as plain data."""
    bar_ns = interval_ns(result.config.interval)
    plain: dict[str, Any] = {}
    for name in result.__struct_fields__:
        value = getattr(result, name)
        if name == "trades":
            plain[name] = [trade_to_plain(t, bar_ns) for t in value]
        elif isinstance(value, list) and value and isinstance(value[0], Record):
            plain[name] = [record_to_plain(r) for r in value]
        else:
            plain[name] = msgspec.to_builtins(value)
    return plain


def write_json(result: "BacktestResult", path: Path, *, trial: str | None = None) -> None:
    """
    Write a result beside `path` and rename it into place; `trial` is the hash of its line in the trial ledger.

    Raises
    ------
    ConfigError
        Fatal: the file cannot be written.

    """
    plain = result_to_plain(result) | ({} if trial is None else {"trial": trial})
    write_file(path, msgspec.json.format(msgspec.json.encode(plain), indent=1))


def write_file(path: Path, content: bytes) -> None:
    """
    Replace `path` by `content` in one step: readers see the old file or the new one.

    Raises
    ------
    ConfigError
        Fatal: the directory or file cannot be written; the message names it.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None


def print_result(result: "BacktestResult", out: TextIO) -> None:
    """Print the tables of a backtest."""
    console = Console(file=out, highlight=False, width=None if out.isatty() else 120)
    label = " [bold red]SYNTHETIC DATA[/]" if result.synthetic else ""
    console.print(f"[bold]Backtest[/] {result.start} to {result.end}{label}")
    console.print(f"  data: {result.data_source} (sha256 {result.data_hash[:12]}), {result.bars:,} events")
    console.print(f"  run:  {result.run_seconds:.1f} s")
    console.print(trades_table(result.trades[-12:], total=len(result.trades)))
    console.print(statistics_table(result.statistics))
    console.print(counts_table("Verdicts", result.verdicts))
    if result.outcomes:
        console.print(outcomes_table(result.outcomes))
    console.print(f"  balance {result.final_balance:,.2f} USDT, equity {result.final_equity:,.2f} USDT")
    for position in result.open_positions:
        console.print(
            f"  still open: {position.symbol} {position.side} {position.quantity} at {position.entry_price:.6g}, "
            f"unrealised {position.unrealized_pnl:+.2f} USDT"
        )
    if result.statistics.trades < 30:
        console.print(f"  [yellow]{result.statistics.trades} trades are too few to conclude anything[/]")


def trades_table(trades: list[Any], total: int) -> Table:
    """Return the last trades as a table."""
    title = "Trades" if total == len(trades) else f"Trades (last {len(trades)} of {total})"
    table = Table(title=title, title_justify="left")
    for name in ("symbol", "side", "entry", "price", "exit", "price", "reason"):
        table.add_column(name)
    for name in ("fees", "funding", "net"):
        table.add_column(name, justify="right")
    for t in trades:
        table.add_row(
            t.symbol,
            t.side,
            (format_time(t.entry_time) or "?")[:16],
            f"{t.entry_price:.6g}",
            (format_time(t.exit_time) or "?")[:16],
            f"{t.exit_price:.6g}",
            t.exit_reason,
            f"{t.fees:.2f}",
            f"{t.funding:+.2f}",
            f"{t.net_pnl:+.2f}",
        )
    return table


def statistics_table(s: "Statistics") -> Table:
    """Return the statistics as a two-column table."""
    table = Table(title="Statistics (daily equity, 365 days a year)", title_justify="left", show_header=False)
    rows = [
        ("net profit (closed trades)", f"{s.net_pnl:+,.2f} USDT"),
        ("fees / funding", f"{s.fees:,.2f} / {s.funding:+,.2f} USDT"),
        ("total return", f"{s.total_return:+.2%}"),
        ("max drawdown", f"{s.max_drawdown:.2%} ({s.max_drawdown_days:.1f} days under water)"),
        ("Sharpe / Sortino", f"{_number(s.sharpe)} / {_number(s.sortino)}"),
        ("profit factor", _number(s.profit_factor)),
        ("trades (won / lost)", f"{s.trades} ({s.wins} / {s.losses})"),
        ("expectancy per trade", "-" if s.expectancy is None else f"{s.expectancy:+.2f} USDT"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def outcomes_table(outcomes: list[Any]) -> Table:
    """Return, per gate and reason, what the signals it blocked would have made (records, or those read back)."""
    table = Table(title="Blocked signals: what they would have made, after costs", title_justify="left")
    for name in ("blocked by", "signals", "target", "stop", "time limit", "not known", "mean net R"):
        table.add_column(name, justify="left" if name == "blocked by" else "right")
    groups: dict[str, list[Any]] = {}
    for one in outcomes:
        groups.setdefault(one.blocked_by, []).append(one)
    for name, found in sorted(groups.items()):
        ends = [sum(o.outcome == end for o in found) for end in ("target", "stop", "horizon", "unresolved")]
        known = [o.net_r for o in found if o.net_r is not None]
        mean = f"{sum(known) / len(known):+.3f}" if known else "-"
        table.add_row(name, str(len(found)), *map(str, ends), mean)
    return table


def counts_table(title: str, counts: dict[str, int]) -> Table:
    """Return labels and counts as a table."""
    table = Table(title=title, title_justify="left", show_header=False)
    for label, count in counts.items():
        table.add_row(label, str(count))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
