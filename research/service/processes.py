"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "ARGONAUT_SERVICE_PARENT"
_PR_SET_PDEATHSIG = 1


def die_with_parent(name: str) -> None:
    """
    Ask the kernel for the signal `name` when the parent (the thread that started us) ends; Linux only.

    Degraded: elsewhere an orphan ends when its lease is lost.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, getattr(signal, name))
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None and os.getppid() != int(expected):
        os.kill(os.getpid(), signal.SIGKILL)  # it ended before the kernel was asked
