"""A bar with rate and remaining time on standard error, when that is a terminal; silence otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """What a long task tells about itself; nobody listens unless :func:`progress` made it at a terminal."""

    def __init__(
        self, expect: Callable[[int], object] = lambda _: None, advance: Callable[[int], object] = lambda _: None
    ) -> None:
        self._expect, self._advance = expect, advance

    def expect(self, total: int) -> None:
        """Say how many units (rows, bytes, files) there are to do."""
        self._expect(total)

    def advance(self, count: int) -> None:
        """Say that `count` more units are done."""
        self._advance(count)


@contextmanager
def progress(what: str, *, wanted: bool = True) -> Iterator[Progress]:
    """Yield a :class:`Progress`; `what` stands before the bar. Not `wanted`: silence."""
    if not (wanted and sys.stderr.isatty()):
        yield Progress()
        return
    from rich.console import Console  # noqa: PLC0415 - only a person at a terminal pays for this import
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Shown  # noqa: PLC0415 - as above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Shown(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield Progress(
            expect=lambda total: shown.update(task, total=total), advance=lambda count: shown.advance(task, count)
        )
