"""The charts of a page, as plotly figures."""

from typing import Any

import numpy as np

from research.report.subject import CHART_POINTS, Run

INK, BLUE, RED, GREEN, GREY, ORANGE = "#1f2933", "#2563eb", "#dc2626", "#15803d", "#9aa5b1", "#d97706"
_FONT = {"family": "system-ui, sans-serif", "size": 12, "color": INK}


def stamp(times_ns: list[int]) -> list[str]:
    """Return instants as text plotly takes for dates, UTC."""
    return [str(t) for t in np.array(times_ns, dtype="int64").astype("datetime64[ns]").astype("datetime64[s]")]


def thin(values: np.ndarray) -> np.ndarray:
    """Return the positions of about :data:`CHART_POINTS` points: both ends, and the extremes of every group."""
    count = len(values)
    if count <= CHART_POINTS:
        return np.arange(count)
    group = -(-count // (CHART_POINTS // 3))
    kept = {0, count - 1}
    for first in range(0, count, group):
        part = values[first : first + group]
        kept |= {first + int(part.argmin()), first + int(part.argmax()), first + len(part) - 1}
    return np.array(sorted(kept))


def equity_chart(run: Run) -> Any:
    """Return equity, drawdown from the highest point, and funding added up, one above the other."""
    from plotly.subplots import make_subplots  # noqa: PLC0415 - half a second that only pages pay

    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.6, 0.22, 0.18], vertical_spacing=0.03)
    if run.equity:
        times = [p[0] for p in run.equity]
        equity, balance = (np.array([p[k] for p in run.equity], dtype=float) for k in (1, 2))
        peak = np.maximum.accumulate(np.maximum(equity, run.start_balance))
        fall = (equity - peak) / np.maximum(peak, 1e-12) * 100
        at = thin(equity)
        _line(figure, 1, stamp([times[i] for i in at]), balance[at], "balance", GREY)
        _line(figure, 1, stamp([times[i] for i in at]), equity[at], "equity", BLUE)
        low = thin(fall)
        _line(figure, 2, stamp([times[i] for i in low]), fall[low], "drawdown", RED, fill="tozeroy")
    if run.funding:
        total = np.cumsum([f[2] for f in run.funding])
        at = thin(total)
        _line(figure, 3, stamp([run.funding[i][0] for i in at]), total[at], "funding, added up", ORANGE)
    for row, title in ((1, "USDT"), (2, "drawdown %"), (3, "funding")):
        figure.update_yaxes(title_text=title, row=row, col=1)
    return _styled(figure, 560)


def price_chart(run: Run, symbol: str) -> Any:
    """Return the price with every trade: entries as triangles, exits as dots, joined by a line of their result."""
    import plotly.graph_objects as go  # noqa: PLC0415 - half a second that only pages pay

    figure = go.Figure()
    prices = run.prices.get(symbol)
    if prices is not None and prices.time:
        times, quiet = stamp(prices.time), {"line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=times, y=prices.high, showlegend=False, **quiet)
        figure.add_scatter(
            x=times, y=prices.low, name="range", fill="tonexty", fillcolor="rgba(154,165,177,0.35)", **quiet
        )
        figure.add_scatter(x=times, y=prices.close, name="close", line={"color": INK, "width": 1})
    trades = [t for t in run.trades if t.symbol == symbol]
    for won, colour, name in ((True, GREEN, "won"), (False, RED, "lost")):
        group = [t for t in trades if (t.net_pnl > 0) == won]
        xs: list[str | None] = []
        ys: list[float | None] = []
        for t in group:
            xs += [*stamp([t.entry_time, t.exit_time]), None]
            ys += [t.entry_price, t.exit_price, None]
        figure.add_scatter(x=xs, y=ys, mode="lines", name=name, line={"color": colour, "width": 2}, hoverinfo="skip")
        figure.add_scatter(
            x=stamp([t.exit_time for t in group]),
            y=[t.exit_price for t in group],
            mode="markers",
            name=f"exit, {name}",
            marker={"color": colour, "size": 6},
            text=[f"{t.exit_reason} {t.net_pnl:+.2f} USDT" for t in group],
        )
    for side, mark, colour in (("LONG", "triangle-up", BLUE), ("SHORT", "triangle-down", ORANGE)):
        group = [t for t in trades if t.side == side]
        figure.add_scatter(
            x=stamp([t.entry_time for t in group]),
            y=[t.entry_price for t in group],
            mode="markers",
            name=f"{side.lower()} entry",
            marker={"color": colour, "size": 9, "symbol": mark},
            text=[f"{side} {t.quantity:g}, stop {t.stop or 0:g}, target {t.target or 0:g}" for t in group],
        )
    figure.update_yaxes(title_text=f"{symbol}, USDT")
    return _styled(figure, 440)


def month_chart(rows: list[dict[str, Any]]) -> Any:
    """Return the return of every month as bars."""
    import plotly.graph_objects as go  # noqa: PLC0415 - half a second that only pages pay

    values = [None if r["return"] is None else round(r["return"] * 100, 3) for r in rows]
    colours = [GREEN if (v or 0) >= 0 else RED for v in values]
    figure = go.Figure(go.Bar(x=[r["month"] for r in rows], y=values, marker={"color": colours}, name="return %"))
    figure.update_xaxes(type="category")
    figure.update_yaxes(title_text="return %")
    return _styled(figure, 240)


def _line(figure: Any, row: int, x: list[str], y: np.ndarray, name: str, colour: str, fill: str | None = None) -> None:
    values = np.round(y, 4).tolist()
    figure.add_scatter(x=x, y=values, name=name, line={"color": colour, "width": 1.3}, fill=fill, row=row, col=1)


def _styled(figure: Any, height: int) -> Any:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 64, "r": 16, "t": 30, "b": 36},
        font=_FONT,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    return figure
