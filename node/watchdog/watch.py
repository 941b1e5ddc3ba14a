"""
The watchdog's senses and hands.

It looks at the node's files twice a second and at the account every few seconds, in a task of its own: a slow venue
does not delay the detection of a hang. What it does and sees is left in the run directory's inbox, from where the
node, the running or the next one, takes it to the journal; latches among it hold there.

Errors: an account that cannot be looked at is reported (**degraded**); the watchdog itself never gives up.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec

from node.binance.rest import BinanceRest, VenueRequestError
from node.config import NodeConfig
from node.control.access import run_directory, venue_rest
from node.control.direct import flatten, naked_positions
from node.control.run_directory import NodeProcess, incident
from node.watchdog.policy import Account, Act, Conclusion, Policy, Sight
from strategies.errors import ConfigError

LOOK_SECS = 0.25
_SEVERITY = {Act.REPORT: "warning", Act.PAUSE: "warning"}
_LONGEST_BACK_OFF_SECS = 120.0


def kill(process: NodeProcess) -> bool:
    """Send SIGKILL to exactly this process; return False if it is gone. Its id may belong to another one by now."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle was taken first: whoever it names, the start time tells whether it is the one.
        if not process.alive():
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


class Watch:
    """
    One watchdog for one node.

    Parameters
    ----------
    config : NodeConfig
        The node's configuration.
    environ : Mapping[str, str]
        Where the watchdog's own key is looked up; the node's is used (and reported) where there is none.
    venue_url : str or None
        Address of a simulated venue; None: as the node tells.
    run_dir : Path or None
        Run directory; None: the configuration's.
    out : TextIO
        One JSON line per conclusion.

    """

    def __init__(
        self,
        config: NodeConfig,
        environ: Mapping[str, str],
        *,
        venue_url: str | None,
        run_dir: Path | None,
        out: TextIO,
    ) -> None:
        self._config = config
        self._environ = environ
        self._venue_url = venue_url
        self._directory = run_directory(config, run_dir)
        self._out = out
        self._policy = Policy(config.operate.watchdog)
        self._looks: list[Account] = []
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Watch until :meth:`stop`."""
        poll = asyncio.create_task(self._poll())
        try:
            while not self._stopped.is_set():
                for conclusion in self._policy.judge(self._sight()):
                    await self._act(conclusion)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), LOOK_SECS)
        finally:
            poll.cancel()
            with suppress(asyncio.CancelledError):
                await poll

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    # -- senses -------------------------------------------------------------------------------------------------------

    def _sight(self) -> Sight:
        process, beat = self._directory.process(), self._directory.beat()
        if process is None or (beat is not None and (beat.pid, beat.start_ticks) != (process.pid, process.start_ticks)):
            beat = None
        return Sight(
            now=time.monotonic(),
            process=process,
            alive=process is not None and process.alive(),
            process_age=0.0 if process is None else (time.time_ns() - process.started) / 1e9,
            beat=beat,
            beat_age=0.0 if beat is None else beat.age_secs(),
            account=self._looks.pop(0) if self._looks else None,
        )

    async def _poll(self) -> None:
        while True:
            pause = self._config.operate.watchdog.poll_secs
            try:
                async with self._rest() as rest:
                    self._looks.append(await self._look(rest))
            except VenueRequestError as e:
                self._looks.append(Account(error=str(e)))
                # A banned address must not make itself worse.
                pause = max(pause, min(e.retry_after_secs or 0.0, _LONGEST_BACK_OFF_SECS))
            except ConfigError as e:  # a simulated venue whose address the node has not told yet
                self._looks.append(Account(error=str(e)))
            except (KeyError, TypeError, ValueError, ArithmeticError) as e:
                self._looks.append(Account(error=f"unexpected answer: {e!r}"))
            await asyncio.sleep(pause)

    async def _look(self, rest: BinanceRest) -> Account:
        naked = await naked_positions(rest, self._config.symbols)
        before = time.time_ns()
        server = int((await rest.get("/fapi/v1/time"))["serverTime"])
        offset = server - (before + time.time_ns()) // 2_000_000
        return Account(naked=naked, offset_ms=offset)

    def _rest(self) -> BinanceRest:
        own = self._config.operate.watchdog
        has_own = bool(self._environ.get(own.api_key_env))
        return venue_rest(
            self._config,
            self._environ,
            venue_url=self._venue_url,
            directory=self._directory,
            key_env=own.api_key_env if has_own else None,
            secret_env=own.api_secret_env if has_own else None,
        )

    # -- hands --------------------------------------------------------------------------------------------------------

    async def _act(self, conclusion: Conclusion) -> None:
        self._tell(conclusion, conclusion.message)
        if conclusion.act is Act.PAUSE:
            self._leave("warning", "pause", f"watchdog: {conclusion.message}", None)
        elif conclusion.act is Act.KILL_NODE:
            process = self._directory.process()
            if process is not None and kill(process):
                self._tell(conclusion, f"killed pid {process.pid}")
        elif conclusion.act in (Act.CLOSE, Act.GIVE_UP):
            # Latched first: whatever happens to the rest, nothing new is opened.
            self._leave("critical", "kill", f"watchdog: {conclusion.message}", conclusion.symbol)
            await self._flatten(conclusion)

    async def _flatten(self, conclusion: Conclusion) -> None:
        symbols = self._config.symbols if conclusion.symbol is None else (conclusion.symbol,)
        try:
            async with self._rest() as rest:
                report = await flatten(rest, symbols)
        except ConfigError as e:
            self._tell(conclusion, f"cannot flatten: {e}", severity="critical")
        else:
            self._tell(conclusion, report.text, severity="warning" if report.flat else "critical")

    def _tell(self, conclusion: Conclusion, message: str, *, severity: str | None = None) -> None:
        severity = severity or _SEVERITY.get(conclusion.act, "critical")
        self._leave(severity, conclusion.code, message, conclusion.symbol)
        line = {"severity": severity, "code": conclusion.code, "symbol": conclusion.symbol, "message": message}
        self._out.write(msgspec.json.encode({"wall_time": time.time_ns(), **line}).decode() + "\n")
        self._out.flush()

    def _leave(self, severity: str, code: str, message: str, symbol: str | None) -> None:
        try:
            self._directory.leave(incident(severity, code, message, symbol=symbol, source="watchdog"))
        except OSError as e:  # a full disk must not keep it from acting
            self._out.write(f"run directory {self._directory.path}: cannot be written: {e.strerror}\n")


async def watch(
    config: NodeConfig, environ: Mapping[str, str], *, venue_url: str | None, run_dir: Path | None, out: TextIO
) -> None:
    """Watch until SIGTERM or SIGINT."""
    found = Watch(config, environ, venue_url=venue_url, run_dir=run_dir, out=out)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, found.stop)
    own = config.operate.watchdog.api_key_env
    if config.environment not in ("venue", "paper") and not environ.get(own):
        out.write(f"warning: {own} is not set: watching with the node's key\n")
    out.write('{"event":"watching"}\n')
    out.flush()
    await found.run()
