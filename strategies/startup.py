"""
What every command does before anything else: refuse a wrong runtime, and turn errors into one line and exit code 2.

Nothing heavy is imported here, so ``--help`` stays well under a second.
"""

import sys
from collections.abc import Callable
from importlib import metadata

from strategies.errors import ArgonautError, RuntimeVersionError

NAUTILUS_VERSION = "1.231.0"
"""The only engine version the corrected adapter and the parity tests were proven with."""

EXIT_USAGE = 2


def check_runtime(
    python: tuple[int, int] = sys.version_info[:2],
    version_of: Callable[[str], str] = metadata.version,
) -> None:
    """
    Refuse an interpreter or library version the project was not proven with.

    Parameters
    ----------
    python : tuple[int, int]
        Major and minor version of the interpreter.
    version_of : Callable[[str], str]
        Returns the installed version of a distribution; raises ``PackageNotFoundError`` if absent.

    Raises
    ------
    RuntimeVersionError
        Fatal: one line that names what was found, what is needed and the remedy.

    """
    if not (3, 12) <= python < (3, 14):
        raise RuntimeVersionError(
            f"Python {python[0]}.{python[1]} is not supported: install Python 3.12 or 3.13 and run `make setup`"
        )
    found = {}
    for name in ("nautilus_trader", "pandas"):
        try:
            found[name] = version_of(name)
        except metadata.PackageNotFoundError:
            raise RuntimeVersionError(f"{name} is not installed: run `make setup`") from None
    if found["nautilus_trader"] != NAUTILUS_VERSION:
        raise RuntimeVersionError(
            f"nautilus_trader {found['nautilus_trader']} found, exactly {NAUTILUS_VERSION} is needed: run `make setup`"
        )
    major = int(found["pandas"].split(".", 1)[0])
    if major >= 3:  # pandas 3 makes trading backtests quadratic and breaks the bar wrangler
        raise RuntimeVersionError(f"pandas {found['pandas']} found, >=2.3.3,<3 is needed: run `make setup`")


def run_command(main: Callable[[], int | None]) -> None:
    """
    Run a command's ``main`` and exit the process.

    Exit codes: what `main` returns (None is 0); 2 with one line on stderr for an :class:`ArgonautError`;
    130 after Ctrl-C. Anything else is a defect and propagates with its traceback.
    """
    try:
        check_runtime()
        code = main() or 0
    except ArgonautError as e:
        sys.stderr.write(f"error: {' '.join(str(e).split())}\n")
        code = EXIT_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:
        code = 0
    sys.exit(code)
