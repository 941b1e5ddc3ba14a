"""
``python -m research.service``: listen for backtests, and keep the workers that run them alive.

The bearer token comes from ``$ARGONAUT_SERVICE_TOKEN`` (at least 16 characters); without one nothing starts. Prints one
JSON line with its address. Listens on loopback; put a TLS proxy before it to reach it from elsewhere.
"""

import argparse
import os
from pathlib import Path

from strategies.errors import ConfigError
from strategies.startup import run_command

TOKEN_VARIABLE = "ARGONAUT_SERVICE_TOKEN"  # noqa: S105 - the name of a variable, not a secret


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.service", description="Serve backtests over HTTP from a queue in the journal database."
    )
    p.add_argument(
        "--journal",
        metavar="URL",
        help="database with the jobs ($ARGONAUT_SERVICE_JOURNAL)",
    )
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    p.add_argument("--port", type=int, default=8770, metavar="N", help="port; 0 takes a free one (8770)")
    p.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (1); 0: started elsewhere")
    p.add_argument("--configs", type=Path, default=Path("config"), metavar="DIR", help="named configurations (config)")
    p.add_argument(
        "--strategies", type=Path, default=Path("config/strategies"), metavar="DIR",
        help="strategy files (config/strategies)",
    )  # fmt: skip
    p.add_argument("--catalogs", type=Path, default=Path("var"), metavar="DIR", help="folder of catalogs (var)")
    p.add_argument("--models", type=Path, default=Path("var/models"), metavar="DIR", help="models (var/models)")
    p.add_argument("--rate", type=int, default=120, metavar="N", help="requests a minute and client (120)")
    p.add_argument("--most-waiting", type=int, default=100, metavar="N", help="jobs that may wait (100)")
    p.add_argument("--lease", type=float, default=30.0, metavar="SECONDS", help="how long a sign of life is good (30)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    token = os.environ.get(TOKEN_VARIABLE, "")
    if len(token) < 16 or not token.isascii() or token.split() != [token]:
        raise ConfigError(
            f"{TOKEN_VARIABLE}: set it to 16 or more ASCII characters without spaces; nothing is served without a token"
        )
    for name, low, high in (("port", 0, 65535), ("workers", 0, 64), ("rate", 1, 100_000), ("most_waiting", 1, 100_000)):
        if not low <= getattr(args, name) <= high:
            raise ConfigError(f"--{name.replace('_', '-')}: {getattr(args, name)}: {low} to {high}")
    for name in ("configs", "strategies", "catalogs"):
        if not getattr(args, name).is_dir():
            raise ConfigError(f"--{name}: {getattr(args, name)}: no such folder")
    from research.service.serve import serve  # noqa: PLC0415 - keeps --help fast

    return serve(args, token)


if __name__ == "__main__":
    run_command(main)
