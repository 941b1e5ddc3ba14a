"""
Who does the pieces of work of a study: processes of this machine (joblib, loky) or an existing Dask cluster.

The same code for all: a function and its tasks, both of which survive pickling. A task holds everything it needs, so a
worker that dies takes nothing with it: its tasks are done again by another.
"""

from collections.abc import Callable, Iterator, Sequence

from strategies.errors import ConfigError

BACKENDS = ("joblib", "dask")
_RETRIES = 10
_SECONDS = "15s"


def run[T, R](
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    backend: str = "joblib",
    scheduler: str | None = None,
    workers: int = -1,
) -> Iterator[R]:
    """
    Yield the result of every task, in the order they finish.

    Parameters
    ----------
    function, tasks : callable, sequence
        What is done, and to what.
    backend : {"joblib", "dask"}
        Processes of this machine, or the cluster at `scheduler`.
    scheduler : str, optional
        Address of a Dask scheduler, e.g. ``tcp://10.0.0.5:8786``.
    workers : int
        Processes of this machine; -1: as many as processors. With 1, or for one task, this process does it itself.

    Raises
    ------
    ConfigError
        Fatal: no scheduler is named, or it does not answer.
    Exception
        Propagate: whatever `function` raises; a task whose workers died ten times.

    """
    if backend == "dask":
        if scheduler is None:
            raise ConfigError("--backend dask: name the cluster with --scheduler ADDRESS")
        yield from _on_cluster(function, tasks, scheduler)
    elif workers == 1 or len(tasks) == 1:
        yield from map(function, tasks)
    else:
        from joblib import Parallel, delayed  # noqa: PLC0415 - keeps --help fast

        parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1)
        yield from parallel(delayed(function)(task) for task in tasks)


def _on_cluster[T, R](function: Callable[[T], R], tasks: Sequence[T], scheduler: str) -> Iterator[R]:
    from distributed import Client, as_completed  # noqa: PLC0415 - a cluster is optional

    try:
        client = Client(scheduler, timeout=_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as e:
        raise ConfigError(f"--scheduler {scheduler}: does not answer: {e}") from None
    with client:
        # A result lost with its worker is computed again by the cluster; `retries` also survives a worker that is
        # killed each time it takes a task up.
        futures = client.map(function, list(tasks), pure=False, retries=_RETRIES)
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
            future.release()
