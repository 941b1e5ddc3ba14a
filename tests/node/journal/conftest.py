import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
import warnings
from pathlib import Path

import msgspec
import pytest

from node.journal import open_journal
from strategies import records

DAY = 86_400_000_000_000
PASSWORD = "s3cr3t/p@ss"
QUOTED_PASSWORD = "s3cr3t%2Fp%40ss"


def _postgresql_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


PROGRAMS = _postgresql_programs()
IN_CI = os.environ.get("CI") == "true"
if PROGRAMS or IN_CI:
    BACKENDS = ["sqlite", "postgresql"]
else:
    BACKENDS = ["sqlite"]
    warnings.warn("PostgreSQL is not installed: the journal is tested on SQLite only", stacklevel=1)


class Cluster:
    """A PostgreSQL server of our own on a free loopback port, run by an unprivileged user."""

    def __init__(self, folder):
        self.folder = folder
        self.port = None
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, "postgres", "postgres")
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        if self._as_user:
            shutil.chown(password_file, "postgres")
        self._run(
            "initdb",
            "-D",
            folder / "data",
            "-U",
            "argonaut",
            "-A",
            "scram-sha-256",
            "--no-locale",
            "-E",
            "UTF8",
            "--no-sync",
            f"--pwfile={password_file}",
        )

    def start(self):
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = self.port or probe.getsockname()[1]
            options = (
                f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=16MB"
            )
            try:
                return self._run(
                    "pg_ctl",
                    "-D",
                    self.folder / "data",
                    "-w",
                    "-t",
                    "30",
                    "-l",
                    self.folder / "log",
                    "-o",
                    options,
                    "start",
                )
            except subprocess.CalledProcessError:
                self.port = None
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, mode="immediate"):
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop")

    def url(self, schema="argonaut"):
        return f"postgresql+psycopg://argonaut:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/postgres?schema={schema}"

    def _run(self, program, *arguments):
        # Files, not pipes: the server inherits them and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            code = subprocess.run(
                [*self._as_user, str(PROGRAMS / program), *map(str, arguments)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            ).returncode
            if code:
                output.seek(0)
                raise subprocess.CalledProcessError(code, program, output.read())


@pytest.fixture(scope="session")
def cluster():
    if PROGRAMS is None:
        pytest.fail("PostgreSQL is not installed: `apt-get install postgresql` (the journal must be proven on it)")
    folder = Path(tempfile.mkdtemp(prefix="argonaut-postgresql-"))
    server = Cluster(folder)
    server.start()
    yield server
    with contextlib.suppress(subprocess.CalledProcessError):
        server.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def url(backend, request, tmp_path):
    """Address of an empty journal on each kind of database."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path}/var/journal.sqlite"
    return request.getfixturevalue("cluster").url(f"j_{uuid.uuid4().hex}")


@pytest.fixture
def journal(url):
    opened = open_journal(url)
    yield opened
    opened.close()


class Make:
    """Records with sensible fields; every call may override any."""

    @staticmethod
    def _make(kind, defaults, changes):
        return kind(**{"market_time": 10, "wall_time": 20, **defaults, **changes})

    def signal(self, identity="s", **changes):
        defaults = {
            "id": identity,
            "strategy": "CMP",
            "symbol": "XRPUSDT",
            "side": "LONG",
            "strength": 4.0,
            "reference_price": 2.5,
            "stop_price": 2.4,
            "target_price": 2.8,
            "features": [1.5, None, 0.1 + 0.2],
            "schema": "abc",
        }
        return self._make(records.SignalRecord, defaults, changes)

    def verdict(self, identity="s/ml", **changes):
        defaults = {
            "id": identity,
            "signal_id": "s",
            "symbol": "XRPUSDT",
            "gate": "ml",
            "passed": True,
            "reason": "passed",
            "score": 0.61,
            "threshold": None,
            "detail": "ünïcode, 'quotes' and \"more\"",
        }
        return self._make(records.VerdictRecord, defaults, changes)

    def approval(self, identity="s", **changes):
        defaults = {
            "id": identity,
            "symbol": "XRPUSDT",
            "side": "LONG",
            "quantity": "10.1",
            "stop_price": "2.4000",
            "target_price": "2.8000",
            "risk_amount": 25.0,
        }
        return self._make(records.ApprovalRecord, defaults, changes)

    def order(self, identity="o", **changes):
        defaults = {
            "id": identity,
            "client_order_id": "C-1",
            "venue_order_id": None,
            "symbol": "XRPUSDT",
            "leg": "entry",
            "event": "Accepted",
            "order_type": "MARKET",
            "side": "BUY",
            "quantity": "10.1",
            "price": None,
            "trigger_price": "2.4000",
            "reason": None,
        }
        return self._make(records.OrderRecord, defaults, changes)

    def fill(self, identity="XRPUSDT/1", **changes):
        defaults = {
            "id": identity,
            "client_order_id": "C-1",
            "venue_order_id": "77",
            "symbol": identity.split("/")[0],
            "leg": "entry",
            "side": "BUY",
            "quantity": "10.1",
            "price": "2.5000",
            "fee": "0.0101",
            "liquidity": "TAKER",
            "event_time": 11,
        }
        return self._make(records.FillRecord, defaults, changes)

    def funding(self, identity="XRPUSDT/28800000", **changes):
        defaults = {"id": identity, "symbol": identity.split("/")[0], "amount": -0.12, "rate": 0.0001}
        return self._make(records.FundingRecord, defaults, changes)

    def trade(self, identity="XRPUSDT/C-1", **changes):
        defaults = {
            "id": identity,
            "symbol": identity.split("/")[0],
            "side": "LONG",
            "entry_time": 10,
            "entry_price": 2.5,
            "exit_time": 90,
            "exit_price": 2.4,
            "quantity": 10.1,
            "stop": 2.4,
            "target": None,
            "exit_reason": "STOP_LOSS",
            "gross_pnl": -1.01,
            "fees": 0.02,
            "funding": -0.12,
            "net_pnl": -1.15,
            "signal_id": "s",
            "verdicts": ["ml:passed"],
        }
        return self._make(records.TradeRecord, defaults, changes)

    def equity(self, market_time=10, **changes):
        defaults = {
            "id": str(market_time),
            "market_time": market_time,
            "balance": 1000.0,
            "unrealized": -1.5,
            "equity": 998.5,
            "open_positions": 1,
        }
        return self._make(records.EquityRecord, defaults, changes)

    def incident(self, identity="i", **changes):
        defaults = {"id": identity, "severity": "warning", "code": "test", "symbol": None, "message": "text"}
        return self._make(records.IncidentRecord, defaults, changes)

    def outcome(self, identity="s", **changes):
        defaults = {
            "id": identity,
            "symbol": "XRPUSDT",
            "side": "LONG",
            "blocked_by": "ml:ml_below_threshold",
            "outcome": "target",
            "net_r": 1.9,
            "entry_price": 2.5,
            "exit_price": None,
            "signal_time": 10,
            "resolved_time": 90,
            "score": None,
        }
        return self._make(records.OutcomeRecord, defaults, changes)

    def one_of_each(self):
        return [
            self.signal(),
            self.verdict(),
            self.approval(),
            self.order(),
            self.fill(),
            self.funding(),
            self.trade(),
            self.equity(),
            self.incident(),
            self.outcome(),
        ]

    @staticmethod
    def changed(record, **changes):
        return msgspec.structs.replace(record, **changes)


@pytest.fixture(scope="session")
def make():
    return Make()
