"""``python -m tests.faults.table``: the table of scenarios in docs/faults.md, from the scenarios themselves."""

import sys
from pathlib import Path

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.verdicts import BLIND_CLOSE, CRITICAL, MONEY, REJECTED

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- scenarios -->\n", "<!-- end of scenarios -->\n"
_WORDS = {
    REJECTED: "orders refused meanwhile",
    BLIND_CLOSE: "one reduce-only order refused for a position that ended unheard",
    CRITICAL: "a critical incident tells people",
    MONEY: "its fee is in the venue's income only",
}


def table() -> str:
    """Return the table."""
    lines = ["| row | what is done | attacks | what is allowed, and must be told |", "|---|---|---|---|"]
    lines += [f"| {s.row} | {s.name} | {s.invariant} | {_allowed(s)} |" for s in SCENARIOS]
    return "\n".join(lines) + "\n"


def documented(text: str) -> str:
    """Return the part of the document between the marks."""
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def _allowed(scenario: Scenario) -> str:
    words = [_WORDS[name] for name in _WORDS if name in scenario.tolerates]
    words += [f"`{code}`" for code in scenario.told]
    return "; ".join(words) or "nothing"


def main() -> int:
    """Write the table into the document."""
    text = DOCUMENT.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOCUMENT.write_text(before + table() + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
