"""For every test: bytecode is kept, decimals round as in a fresh process, no example is timed, seeds are its own."""

import decimal
import os
import sys
from zlib import crc32

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(autouse=True)
def fresh_decimals():
    """Undo what a client library did to the decimal context: ccxt sets half-up rounding and leaves it so."""
    decimal.setcontext(decimal.Context())


@pytest.fixture
def seed(request):
    """Return a seed of the test's own, the same in every run; ``ARGONAUT_SEED`` makes others."""
    value = crc32(f"{os.environ.get('ARGONAUT_SEED', '1')} {request.node.name}".encode()) % 10**6
    sys.stdout.write(f"seed {value}\n")  # shown when the test fails
    return value


@pytest.fixture(autouse=True, scope="session")
def own_trial_ledger(tmp_path_factory):
    """Keep what tests try out of the ledger of real studies; commands started by tests inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGONAUT_TRIALS", str(tmp_path_factory.mktemp("trials") / "trials.jsonl"))
        yield
