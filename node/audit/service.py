"""Auditor and dead man's switch of one run: made, started and ended together."""

from collections.abc import Callable
from typing import Any

from node.audit.auditor import Auditor, Holds
from node.audit.dead_man import DeadManSwitch
from node.audit.node_side import RunningNode
from node.audit.snapshot import JournalBooks
from node.binance.incidents import publish_incident
from node.binance.rest import BinanceRest
from node.config import NodeConfig
from node.journal import Journal


class AccountGuards:
    """
    What watches the account beside the node.

    Parameters
    ----------
    config : NodeConfig
        Its ``audit`` and ``dead_man``.
    node, client : Any
        A built node and its execution client.
    journal : Journal
        Open for writing.
    holds : Holds
        What holds entries.
    rest : Callable[[], BinanceRest]
        Makes a client with the account's key.
    replay : bool
        Market time runs by barriers.

    """

    def __init__(
        self,
        config: NodeConfig,
        node: Any,
        client: Any,
        journal: Journal,
        holds: Holds,
        rest: Callable[[], BinanceRest],
        *,
        replay: bool,
    ) -> None:
        kernel, symbols = node.kernel, config.symbols
        self._parts: list[Auditor | DeadManSwitch] = []
        if config.audit.enabled and (config.audit.in_replay or not replay):
            books = JournalBooks(journal, symbols)
            side = RunningNode(node, client, symbols)
            self._parts.append(Auditor(config.audit, rest(), symbols, side, books, holds))
        if config.dead_man.enabled:

            def report(code: str, text: str) -> None:
                publish_incident(kernel.msgbus, kernel.clock, severity="warning", code=code, message=text)

            self._parts.append(DeadManSwitch(config.dead_man, rest(), symbols, report))

    def start(self) -> None:
        """Begin; the node must be running."""
        for part in self._parts:
            part.start()

    async def stop(self) -> None:
        """End; a switch is disarmed."""
        for part in self._parts:
            await part.stop()
