"""For every test: processes keep the bytecode they compile, decimals round as in a fresh one, no example is timed."""

import decimal
import os
import sys

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


@pytest.fixture(autouse=True, scope="session")
def own_trial_ledger(tmp_path_factory):
    """Keep what tests try out of the ledger of real studies; commands started by tests inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGONAUT_TRIALS", str(tmp_path_factory.mktemp("trials") / "trials.jsonl"))
        yield
