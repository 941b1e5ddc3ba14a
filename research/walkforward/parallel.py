"""The same pieces of work on one machine (joblib with loky) or on a Dask cluster, by one option."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def run[T, R](
    function: Callable[[T], R], tasks: Sequence[T], *, workers: int, backend: str, scheduler: str | None = None
) -> Iterator[R]:
    """
    Yield the results in the order they finish.

    Parameters
    ----------
    function, tasks : callable, sequence
        What is done, and to what; both must survive pickling.
    workers : int
        Processes with ``loky``; 1 works in this process.
    backend : {"loky", "dask"}
        Where.
    scheduler : str, optional
        Address of the Dask scheduler.

    Raises
    ------
    Exception
        Propagate: whatever `function` raises.

    """
    if backend == "loky" and workers == 1:
        yield from map(function, tasks)
        return
    from joblib import Parallel, delayed, parallel_config  # noqa: PLC0415 - keeps --help fast

    settings: dict[str, Any] = {"n_jobs": workers}
    if backend == "loky":
        yield from Parallel(return_as="generator_unordered", **settings)(delayed(function)(t) for t in tasks)
        return
    from distributed import Client  # noqa: PLC0415 - as above

    with Client(scheduler), parallel_config("dask"):
        yield from Parallel(n_jobs=-1, return_as="generator_unordered")(delayed(function)(t) for t in tasks)
