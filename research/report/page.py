"""The HTML: text and tables readable without scripts, charts drawn by the one plotly.js the file carries."""

import html
import json
from typing import Any

from research.report.cautions import cautions
from research.report.figures import equity_chart, month_chart, price_chart
from research.report.readings import by_exit, by_month, by_regime, by_side, gate_rows
from research.report.subject import Page, Run

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff;margin:0 auto;max-width:1180px;padding:24px}
h1{font-size:24px;margin:0}h2{font-size:19px;border-top:2px solid #1f2933;padding-top:14px;margin-top:40px}
h3{font-size:15px;margin:24px 0 6px}p.sub{color:#52606d;margin:2px 0 12px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:4px 0}
.wide{overflow-x:auto}th,td{padding:3px 10px;text-align:right;border-bottom:1px solid #e4e7eb;white-space:nowrap}
th{background:#f5f7fa;font-weight:600}th:first-child,td:first-child{text-align:left}td.text{text-align:left}
.neg{color:#b91c1c}.box{border:1px solid #d97706;background:#fffbeb;border-radius:6px;padding:8px 16px;margin:12px 0}
.box.bad{border-color:#b91c1c;background:#fef2f2}.box ul{margin:4px 0;padding-left:20px}code{font-size:12px}
.cards{display:flex;flex-wrap:wrap;gap:10px;margin:12px 0}
.card{border:1px solid #e4e7eb;border-radius:6px;padding:8px 14px;min-width:130px}.card b{display:block;font-size:19px}
.card small{color:#52606d;display:block}
pre{background:#f5f7fa;padding:12px;overflow:auto;font-size:12px;max-height:600px}
details summary{cursor:pointer;font-weight:600;margin-top:16px}nav a{margin-right:14px}
"""
_PERCENT = {"return", "drawdown", "share won"}
_GRAVE = {"synthetic", "ruin", "no_trades"}
_CHART = {"displaylogo": False, "responsive": True}


def render(page: Page) -> bytes:
    """Return the whole page as UTF-8; plotly.js is embedded once and nothing else is loaded."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - four megabytes that only pages pay

    title = html.escape(page.title)
    several = len(page.runs) > 1
    body = [f"<h1>{title}</h1><p class=sub>{html.escape(page.subtitle)}</p>"]
    if several:
        links = [f'<a href="#run-{i}">{html.escape(r.title)}</a>' for i, r in enumerate(page.runs)]
        body.append(f"<nav>{''.join(links)}</nav><h3>All runs</h3>{table([_summary(r) for r in page.runs])}")
    if page.compared:
        body.append("<h2>The ancestor and ours</h2>")
        body.append(
            "<p class=sub>Trades, net USDT, profit factor; then what net profit changes by when one rule after the "
            "other becomes ours.</p>" + table(page.compared)
        )
        body.append(_list(page.compared_notes))
    if page.paths:
        body.append("<h2>Combinatorial purged cross-validation</h2>" + table(page.paths))
    for section in page.sections:
        note = f"<p class=sub>{html.escape(section.note)}</p>"
        body.append(f"<h2>{html.escape(section.title)}</h2>{note}{table(section.rows)}")
    body += [_section(page, run, f"run-{i}") for i, run in enumerate(page.runs)]
    body.append("<h2>Configuration</h2>")
    body.append(table([{"hash": k, "value": v} for k, v in page.hashes.items()]))
    pretty = html.escape(json.dumps(page.config, indent=1, default=str))
    body.append(f"<details><summary>full configuration</summary><pre>{pretty}</pre></details>")
    text = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
        f'<meta name=viewport content="width=device-width,initial-scale=1"><link rel=icon href="data:,">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>{''.join(body)}</body></html>\n"
    )
    return text.encode()


def _section(page: Page, run: Run, anchor: str) -> str:
    warned = cautions(run, page.effort)
    parts = [
        f'<h2 id="{anchor}">{html.escape(run.title)}</h2>',
        f"<p class=sub>{run.start[:10]} to {run.end[:10]}; {html.escape(run.data_source)}</p>",
        _cards(run),
    ]
    if warned:
        grave = " bad" if any(w.caution in _GRAVE for w in warned) else ""
        lines = "".join(f"<li><code>{w.caution}</code> {html.escape(w.text)}</li>" for w in warned)
        parts.append(f'<div class="box warnings{grave}"><b>Warnings</b><ul>{lines}</ul></div>')
    else:
        parts.append('<div class="box warnings"><b>No warning was raised.</b></div>')
    parts.append("<h3>Equity, drawdown, funding</h3>" + _chart(equity_chart(run), f"{anchor}-equity"))
    months = by_month(run)
    parts.append("<h3>Months</h3>" + _chart(month_chart(months), f"{anchor}-months") + table(months))
    if run.folds:
        parts.append("<h3>Test windows</h3>" + table(run.folds))
    for symbol in run.symbols:
        note = "" if run.prices else "<p class=sub>The catalog is not at hand: trades without prices.</p>"
        title = f"<h3>Trades of {html.escape(symbol)}</h3>{note}"
        parts.append(title + _chart(price_chart(run, symbol), f"{anchor}-{symbol}"))
    parts.append("<h3>Long and short</h3>" + table(by_side(run, page.seed)))
    parts.append("<h3>By exit</h3>" + table(by_exit(run, page.seed)))
    for name, rows in by_regime(run, page.seed).items():
        parts.append(f"<h3>By {name} of the 20 days before</h3>" + table(rows))
    gates = gate_rows(run)
    if gates:
        note = "<p class=sub>Net R: what the signal earned, or would have earned, after costs in units of its stop.</p>"
        parts.append("<h3>Gates</h3>" + note + table(gates))
        figures = run.gate_figures
        if figures is not None:
            row = {
                "signals scored": figures.scored,
                "above threshold": figures.passed,
                "below": figures.blocked,
                "net R above": figures.net_r_passed,
                "net R below": figures.net_r_blocked,
                "difference, 95 %": figures.net_r_difference_95,
            }
            parts.append(table([row]))
    parts.append(_list(run.notes))
    return "".join(parts)


def _summary(run: Run) -> dict[str, Any]:
    s = run.statistics
    return {
        "run": run.title,
        "tested share": "-" if run.tested_share is None else f"{run.tested_share:.1%}",
        "trades": s.trades,
        "net": s.net_pnl,
        "return": s.total_return,
        "profit factor": s.profit_factor,
        "95 %": run.intervals.get("profit_factor"),
        "Sharpe": s.sharpe,
        "Sharpe 95 %": run.intervals.get("sharpe"),
        "drawdown": s.max_drawdown,
        "ended": run.ended,
    }


def _cards(run: Run) -> str:
    s = run.statistics
    share = "" if run.tested_share is None else f"tested {run.tested_share:.1%} of history"
    expectancy = None if s.expectancy is None else round(s.expectancy, 2)
    cards = [
        ("net profit", f"{s.net_pnl:+,.2f}", f"fees {s.fees:,.2f}, funding {s.funding:+,.2f}"),
        ("return", f"{s.total_return:+.2%}", share),
        ("profit factor", cell(s.profit_factor), _range(run, "profit_factor")),
        ("Sharpe ratio", cell(s.sharpe), _range(run, "sharpe")),
        ("max drawdown", f"{s.max_drawdown:.2%}", _range(run, "max_drawdown", percent=True)),
        ("trades", str(s.trades), f"{s.wins} won, {s.losses} lost"),
        ("per trade", "-" if expectancy is None else f"{expectancy:+.2f}", _range(run, "expectancy")),
    ]
    shown = "".join(f"<div class=card>{n}<b>{v}</b><small>{html.escape(t)}&nbsp;</small></div>" for n, v, t in cards)
    return f"<div class=cards>{shown}</div>"


def _range(run: Run, name: str, *, percent: bool = False) -> str:
    bounds = run.intervals.get(name)
    if bounds is None:
        return "95 %: not available"
    form = "{:.1%}" if percent else "{:.2f}"
    return f"95 %: {form.format(bounds[0])} to {form.format(bounds[1])}"


def _chart(figure: Any, identity: str) -> str:
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=identity, config=_CHART))


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows with the same keys as a table; none is said so."""
    if not rows:
        return "<p class=sub>none</p>"
    head = "".join(f"<th>{html.escape(str(k))}</th>" for k in rows[0])
    lines = []
    for row in rows:
        cells = []
        for name, value in row.items():
            text = f"{value:.2%}" if name in _PERCENT and isinstance(value, float) else cell(value)
            negative = isinstance(value, float) and value < 0
            kind = ' class="neg"' if negative else ' class="text"' if isinstance(value, str) else ""
            cells.append(f"<td{kind}>{html.escape(text)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def cell(value: Any) -> str:
    """Return one value as text; absent figures are a dash, never zero."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, tuple | list):
        return " to ".join(f"{v:.2f}" for v in value)
    return str(value)


def _list(lines: list[str]) -> str:
    return "".join(["<ul>", *(f"<li>{html.escape(line)}</li>" for line in lines), "</ul>"]) if lines else ""
