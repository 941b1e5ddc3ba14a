"""
The exception tree of the project. Every error a person can cause or mend derives from :class:`ArgonautError`.

    ArgonautError
    ├── ConfigError        a YAML key, value or file reference is wrong            (fatal at start)
    ├── RuntimeVersionError  the interpreter or a pinned library is the wrong one  (fatal at start)
    ├── DataError          market data on disk is missing, damaged or inconsistent (propagate)
    ├── ModelError         a model folder does not verify                          (fail closed)
    ├── JournalError       the durable record cannot be opened or written          (fatal)
    ├── VenueError         the exchange (or simulated venue) cannot be used        (propagate)
    ├── UnavailableError   something a node needs is not there now, and may be soon (tried again at a start)
    └── InvariantError     one of the node's invariants did not hold               (fatal)

Commands print the message as one line on stderr and exit with code 2; nothing else prints a traceback for these. The
live node exits with 1 for ``VenueError`` and ``UnavailableError``: a supervisor shall start it again.
"""


class ArgonautError(Exception):
    """Base of all errors whose message is written for the person at the keyboard."""


class ConfigError(ArgonautError):
    """A configuration file is missing, malformed, or has an unknown key or an impossible value."""


class RuntimeVersionError(ArgonautError):
    """The Python interpreter or a pinned library has a version the project was not proven with."""


class DataError(ArgonautError):
    """Market data is missing, damaged or inconsistent. The message names file, row, field and remedy."""


class ModelError(ArgonautError):
    """A model folder does not verify: missing file, hash mismatch, expired, other feature schema."""


class JournalError(ArgonautError):
    """The journal database cannot be opened, migrated or written."""


class VenueError(ArgonautError):
    """The exchange or the simulated venue answered in a way that makes continuing unsafe."""


class UnavailableError(ArgonautError):
    """A server does not answer, or a disk is full: no mistake of anybody's, and it may be over soon."""


class JournalUnavailableError(JournalError, UnavailableError):
    """The journal's server or disk is not there now."""


class InvariantError(ArgonautError):
    """One of the invariants of the node did not hold."""
