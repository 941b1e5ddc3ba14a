"""Ours and the ancestor's, window by window and trade by trade, with the rule that makes each difference."""

from pathlib import Path

import msgspec

from catalog.instruments import interval_ns, load_instruments
from catalog.reader import load_bars
from node.config import NodeConfig, format_time, parse_time
from research.walkforward.ancestor import CAUSES, Account, AncestorTrade, Rules, run
from research.walkforward.config import AncestorConfig
from research.walkforward.folds import Fold
from research.walkforward.outcome import Variant
from research.walkforward.trial import Trade
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.sizing import MarginRatio
from strategies.yaml_config import FrozenConfig, convert

INSIDE_A_BAR = ("STOP_LOSS", "TAKE_PROFIT")
CENT = 0.01
REST = "engine"
"""What is left when all four rules are ours: the engine against the bar loop."""


class Step(FrozenConfig, frozen=True):
    """What the exchange of one rule changes: net profit, and trades that appear, vanish or end otherwise."""

    cause: str
    net_change: float
    appeared: list[str]
    vanished: list[str]
    other_exit: list[str]
    repriced: int


class Window(FrozenConfig, frozen=True):
    """
    One test window.

    Attributes
    ----------
    ancestor, ours : (int, float, float or None)
        Trades, net profit, profit factor.
    published : (int, float, float or None) or None
        What the ancestor is known to have printed.
    published_agrees : bool or None
        Whether `ancestor` is that, to the printed digit.
    partial : bool
        The data end before the window; published figures are of the whole one.
    steps : list of Step
        From the ancestor to ours; their net changes add up to the difference.
    unexplained : list of str
        Trades of the engine that the last step's bar loop does not make, or the reverse. Empty when all is explained.

    """

    start: str
    end: str
    partial: bool
    published: tuple[int, float, float | None] | None
    published_agrees: bool | None
    ancestor: tuple[int, float, float | None]
    ours: tuple[int, float, float | None]
    steps: list[Step]
    unexplained: list[str]
    theirs: list[str]


def account_of(node: NodeConfig, symbol: str) -> Account:
    """
    Return the ancestor's account for a node configuration.

    Raises
    ------
    ConfigError
        Fatal: the configuration is not one of the ancestor's (sizing by margin ratio, one fee for all, no funding).

    """
    sizing, backtest = node.risk.sizing, node.backtest
    if not isinstance(sizing, MarginRatio) or backtest.fees is None or backtest.funding:
        raise ConfigError(
            "ancestor: the node configuration must size by margin_ratio, name fees and charge no funding: "
            "use config/ancestor.yaml"
        )
    spec = load_instruments()[symbol]
    return Account(
        balance=backtest.balance,
        fee=float(backtest.fees.taker),
        slippage=backtest.slippage_bps / 10_000,
        leverage=float(sizing.leverage),
        ratio_max=float(sizing.max_ratio),
        ratio_min=float(sizing.min_ratio),
        ratio_step=float(sizing.step_per_usdt),
        price_tick=float(spec.price_tick),
        quantity_step=float(spec.quantity_step),
    )


def compare(node: NodeConfig, config: AncestorConfig, folds: list[Fold], ours: Variant) -> list[Window]:
    """
    Return the comparison of every test window of a variant with fresh accounts and one symbol.

    Raises
    ------
    ConfigError
        Fatal: see :func:`account_of`; more than one symbol.
    DataError
        Propagate: bars are missing.

    """
    if len(ours.symbols) != 1:
        raise ConfigError("ancestor: each account must hold one symbol")
    symbol = ours.symbols[0]
    step = interval_ns(node.interval)
    bars = load_bars(Path(node.catalog), symbol, node.interval)
    printed = {parse_time(p.start, "ancestor.published.start"): p for p in config.published}
    account = account_of(node, symbol)
    found = []
    for fold, line in zip(folds, ours.lines, strict=True):
        params = convert(line.params[symbol], CompositeParams, "params")
        span = (fold.test_start, fold.test_end)
        # Warm indicators see as many bars before the window as the engine loads.
        seen = bars.open_time >= fold.test_start - node.strategy.history_bars * step
        part = type(bars)(*(getattr(bars, n)[seen] for n in type(bars).__slots__))
        stages = [
            run(part, span, params, account, Rules(*(i < count for i in range(len(CAUSES)))))
            for count in range(len(CAUSES) + 1)
        ]
        mine = [_as_theirs(t, step) for t in ours.trades if fold.test_start < t.entry_time <= fold.test_end]
        steps = [_step(cause, stages[i], stages[i + 1]) for i, cause in enumerate(CAUSES)]
        rest = _step(REST, stages[-1], mine)
        last = printed.get(fold.test_start)
        figures = figures_of(stages[0])
        known = None if last is None else (last.trades, last.net_pnl, last.profit_factor)
        found.append(
            Window(
                start=_text(fold.test_start),
                end=_text(fold.test_end),
                partial=fold.partial,
                published=known,
                published_agrees=None if known is None or fold.partial else agrees(figures, known),
                ancestor=figures,
                ours=figures_of(mine),
                steps=[*steps, rest],
                unexplained=[*rest.appeared, *rest.vanished, *rest.other_exit],
                theirs=[named(t) for t in stages[0]],
            )
        )
    return found


def figures_of(trades: list[AncestorTrade]) -> tuple[int, float, float | None]:
    """Return number, net profit and profit factor."""
    nets = [t.net_pnl for t in trades]
    lost = -sum(n for n in nets if n <= 0)
    return len(nets), sum(nets), sum(n for n in nets if n > 0) / lost if lost > 0 else None


def agrees(figures: tuple[int, float, float | None], known: tuple[int, float, float | None]) -> bool:
    """Return whether figures are those printed with one and two digits."""
    factor = known[2] is None or (figures[2] is not None and abs(figures[2] - known[2]) <= 0.00501)
    return figures[0] == known[0] and abs(figures[1] - known[1]) <= 0.0501 and factor


def named(trade: AncestorTrade) -> str:
    """Return one trade as text."""
    return (
        f"{trade.side} {_text(trade.entry_bar)} at {trade.entry_price:.6g} to {_text(trade.exit_bar)} at "
        f"{trade.exit_price:.6g}, {trade.reason}, {trade.net_pnl:+.2f}"
    )


def _step(cause: str, before: list[AncestorTrade], after: list[AncestorTrade]) -> Step:
    old, new = ({(t.side, t.entry_bar): t for t in trades} for trades in (before, after))
    both = [(old[k], new[k]) for k in old if k in new]
    return Step(
        cause=cause,
        net_change=sum(t.net_pnl for t in after) - sum(t.net_pnl for t in before),
        appeared=[named(new[k]) for k in new if k not in old],
        vanished=[named(old[k]) for k in old if k not in new],
        other_exit=[
            f"{named(a)} becomes {named(b)}" for a, b in both if (a.exit_bar, a.reason) != (b.exit_bar, b.reason)
        ],
        repriced=sum(abs(a.net_pnl - b.net_pnl) > CENT for a, b in both),
    )


def _as_theirs(t: Trade, step: int) -> AncestorTrade:
    """Return a trade of ours with the opening times of its bars, as the ancestor prints them."""
    inside = t.exit_reason in INSIDE_A_BAR
    reason = "END_OF_DATA" if t.exit_reason == "END_OF_FOLD" else t.exit_reason
    leave = t.exit_time - (0 if inside else step)
    return AncestorTrade(t.side, t.entry_time - step, t.entry_price, leave, t.exit_price, t.quantity, reason, t.net_pnl)


def _text(time_ns: int) -> str:
    return (format_time(time_ns) or "")[:16]


def comparison_json(windows: list[Window]) -> bytes:
    """Return the comparison as JSON."""
    return msgspec.json.format(msgspec.json.encode(windows), indent=1)
