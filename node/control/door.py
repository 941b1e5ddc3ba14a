"""
The control door: commands over HTTP on 127.0.0.1, over files and over signals, served by threads of their own.

``POST /<command>`` with ``Authorization: Bearer <token>`` and an optional JSON body ``{"symbol": …, "who": …}``;
``GET /status``. The threads answer also while the event loop hangs.

Errors: a request without the token gets 401, a mistake 400 with one line (**propagate**); a command that the loop does
not take in time gets 503.
"""

import hmac
import queue
import signal
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import msgspec

from node.control.commands import Action, Command, Outcome, command_in, command_of
from node.control.run_directory import RunDirectory
from strategies.errors import ArgonautError, ConfigError

POLL_SECS = 0.1
_LONGEST_BODY = 4_096
_SOCKET_SECS = 5.0
_SIGNALS = {
    signal.SIGUSR1: (Action.PAUSE,),
    signal.SIGUSR2: (Action.PAUSE, Action.FLATTEN),
}

Submit = Callable[[Command], Outcome]
"""Carries a command out and says what became of it; thread-safe. Raises ConfigError for a mistake."""
Refused = Callable[[str], None]


class HttpDoor:
    """
    The HTTP server.

    Parameters
    ----------
    port : int
        On 127.0.0.1; 0 for a free one.
    token : str
        What a request must bear.
    submit : Submit
        Receives commands.
    status : Callable[[], dict]
        What ``GET /status`` answers.

    Raises
    ------
    ConfigError
        Fatal: the port is taken.

    """

    def __init__(self, port: int, token: str, submit: Submit, status: Callable[[], dict[str, Any]]) -> None:
        handler = type("Handler", (_Handler,), {"token": token, "submit": (submit,), "status": (status,)})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as e:
            raise ConfigError(f"operate.port: {port}: {e.strerror}: choose another, or 0 for a free one") from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECS,), name="control-http", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = _SOCKET_SECS
    token: ClassVar[str]
    submit: ClassVar[tuple[Submit]]
    status: ClassVar[tuple[Callable[[], dict[str, Any]]]]

    def do_GET(self) -> None:
        if not self._known():
            return
        if self.path == "/status":
            self._answer(HTTPStatus.OK, self.status[0]())
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "GET /status, or POST /<command>"})

    def do_POST(self) -> None:
        if not self._known():
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LONGEST_BODY:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": f"the body must have at most {_LONGEST_BODY} bytes"})
            return
        try:
            outcome = self.submit[0](command_of(self.path.removeprefix("/"), self.rfile.read(int(length)), via="http"))
        except ArgonautError as e:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(e)})
            return
        self._answer(HTTPStatus.OK if outcome.done else HTTPStatus.SERVICE_UNAVAILABLE, outcome)

    def _known(self) -> bool:
        given = self.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(errors="replace"), f"Bearer {self.token}".encode()):
            return True
        self.close_connection = True
        self._answer(HTTPStatus.UNAUTHORIZED, {"error": "the token in the run directory is needed"})
        return False

    def _answer(self, status: HTTPStatus, body: object) -> None:
        data = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: every command is in the journal."""


class FileDoor:
    """
    A thread that obeys files and signals.

    Parameters
    ----------
    directory : RunDirectory
        Its ``commands`` folder is looked at ten times a second.
    submit : Submit
        Receives commands.
    refused : Refused
        Told of every file that is no command.
    every : Callable[[], None]
        Called with each look (incidents left by others are taken to the journal).

    """

    def __init__(self, directory: RunDirectory, submit: Submit, refused: Refused, every: Callable[[], None]) -> None:
        self._directory = directory
        self._submit = submit
        self._refused = refused
        self._every = every
        self._signals: queue.SimpleQueue[signal.Signals | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="control-files", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; returns when the thread has ended."""
        self._closed = True
        self._signals.put(None)
        self._thread.join(_SOCKET_SECS)

    def watch_signals(self) -> None:
        """Take SIGUSR1 (pause) and SIGUSR2 (pause and flatten). Call on the main thread."""
        for number in _SIGNALS:
            # A plain handler, not the loop's: it also runs while a callback keeps the loop busy.
            signal.signal(number, lambda received, _frame: self._signals.put(signal.Signals(received)))

    def discard_stale(self) -> None:
        """Drop what was left while no node ran, except what only makes things safer."""
        for path in self._files():
            if path.name.removesuffix(".json") not in (Action.PAUSE, Action.KILL):
                path.unlink(missing_ok=True)
                self._refused(f"{path.name}: left before this node started: not obeyed")

    def _run(self) -> None:
        while not self._closed:
            try:
                received = self._signals.get(timeout=POLL_SECS)
            except queue.Empty:
                received = None
            if received is not None:
                for action in _SIGNALS[received]:
                    self._obey(Command(action=action, who=received.name, via="signal"))
            if self._closed:
                return
            try:
                for path in self._files():
                    self._obey_file(path)
                self._every()
            except OSError as e:
                self._refused(f"run directory: {e}")
                time.sleep(1.0)

    def _files(self) -> list[Any]:
        return sorted(p for p in self._directory.commands.iterdir() if p.is_file() and not p.name.startswith("."))

    def _obey_file(self, path: Any) -> None:
        try:
            command = command_in(path)
        except (ConfigError, OSError) as e:
            path.unlink(missing_ok=True)
            self._refused(f"control file: {e}")
            return
        path.unlink(missing_ok=True)
        self._obey(command)

    def _obey(self, command: Command) -> None:
        try:
            self._submit(command)
        except ArgonautError as e:
            self._refused(f"control {command.via}: {e}")
