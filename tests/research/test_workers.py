"""The same work on this machine and on a Dask cluster; a worker that dies loses nothing."""

import os
import signal
import threading
import time

import pytest

from research import workers as parallel
from strategies.errors import ConfigError


def squared(value):
    return value * value


@pytest.mark.parametrize("workers", [1, 2])
def test_all_results_come_back_from_this_machine(workers):
    found = parallel.run(squared, list(range(20)), workers=workers, backend="joblib")
    assert sorted(found) == [v * v for v in range(20)]


def test_an_error_of_a_worker_is_ours():
    with pytest.raises(ZeroDivisionError):
        list(parallel.run(lambda v: 1 // v, [1, 0], workers=2, backend="joblib"))


@pytest.mark.parametrize("scheduler", [None, "tcp://127.0.0.1:9"])
def test_a_cluster_that_does_not_answer_is_named(scheduler, monkeypatch):
    monkeypatch.setattr(parallel, "_SECONDS", "1s")
    with pytest.raises(ConfigError, match="--scheduler"):
        next(parallel.run(squared, [1, 2], backend="dask", scheduler=scheduler))


def test_a_dask_worker_killed_in_the_middle_loses_no_work(tmp_path):
    """Two workers are inside a task each when one of them is killed: its task is done again by the other."""
    from distributed import LocalCluster

    go = tmp_path / "go"

    def work(value):  # pickled by value: the workers do not know this module
        (tmp_path / f"{value}-{os.getpid()}").touch()
        while not go.exists():
            time.sleep(0.01)
        return value * value, os.getpid()

    found = []
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options, silence_logs=50) as cluster:
        address = cluster.scheduler_address

        def collect():
            found.extend(parallel.run(work, list(range(8)), workers=2, backend="dask", scheduler=address))

        thread = threading.Thread(target=collect)
        thread.start()
        deadline = time.monotonic() + 600
        while len(pids := {f.name.split("-")[1] for f in tmp_path.glob("*-*")}) < 2:
            assert thread.is_alive(), "ended before both workers had begun"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        victim = int(min(pids))
        os.kill(victim, signal.SIGKILL)
        go.touch()
        thread.join(timeout=600)
        assert not thread.is_alive()
    assert sorted(value for value, _ in found) == [v * v for v in range(8)]
    assert victim not in {pid for _, pid in found}
    assert os.getpid() not in {pid for _, pid in found}, "work was done by the caller"
