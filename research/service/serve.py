"""The running service: a bound socket, uvicorn, and a keeper of worker processes."""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading

import uvicorn

from research.service.app import make_app
from research.service.guard import Guard, Limiter
from research.service.jobs import Queue
from research.service.processes import PARENT_VARIABLE
from research.service.request import Roots
from research.service.worker import JOURNAL_VARIABLE
from strategies.errors import ConfigError

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 20.0


def serve(args: argparse.Namespace, token: str) -> int:
    """
    Serve until a signal comes.

    Raises
    ------
    ConfigError
        Fatal: the address cannot be listened on.
    JournalError
        Fatal: the database cannot be used.

    """
    url = args.journal or os.environ.get(JOURNAL_VARIABLE) or "sqlite:///var/journal.sqlite"
    queue = Queue(url)
    queue.prepare()
    roots = Roots(args.configs, args.strategies, args.catalogs, args.models)
    app = Guard(make_app(queue, roots, most_waiting=args.most_waiting), token=token, limiter=Limiter(args.rate))
    listener = _listen(args.host, args.port)
    host, port = listener.getsockname()[:2]
    command = [sys.executable, "-m", "research.service.worker", "--lease", str(args.lease)]
    command += [] if args.ledger is None else ["--ledger", str(args.ledger)]
    keeper = Keeper(command, args.workers, {JOURNAL_VARIABLE: url})
    keeper.start()
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(json.dumps({"url": f"http://{shown}:{port}", "workers": args.workers, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    try:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=5)
        )
        server.run(sockets=[listener])
    finally:
        keeper.stop()
        queue.close()
    return 0


class Keeper:
    """
    Starts worker processes and starts them again when they end.

    Parameters
    ----------
    command : list[str]
        What a worker is.
    count : int
        How many.
    environment : dict[str, str]
        Added to ours; the token is never handed on.

    """

    def __init__(self, command: list[str], count: int, environment: dict[str, str]) -> None:
        self._command, self._count = command, count
        kept = {k: v for k, v in os.environ.items() if k != "ARGONAUT_SERVICE_TOKEN"}
        self._environment = {**kept, **environment, PARENT_VARIABLE: str(os.getpid())}
        self._stop = threading.Event()
        # Workers die with the thread that started them: this one, which lives as long as the service.
        self._thread = threading.Thread(target=self._keep, name="workers", daemon=True)

    def start(self) -> None:
        """Start the workers."""
        self._thread.start()

    def stop(self) -> None:
        """Let every worker give its job back, and end it."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS + 5)

    def _keep(self) -> None:
        workers = [self._begin() for _ in range(self._count)]
        while not self._stop.wait(_RESTART_SECONDS):
            for i, worker in enumerate(workers):
                if worker.poll() is not None:
                    sys.stderr.write(f"service: worker {worker.pid} ended ({worker.returncode}): another is started\n")
                    workers[i] = self._begin()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()

    def _begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as e:
        raise ConfigError(f"--host/--port: {host}:{port} cannot be listened on: {e.strerror or e}") from None
    return listener
