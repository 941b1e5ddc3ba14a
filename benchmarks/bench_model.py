"""What a score costs: ``LoadedModel.score`` against a bare onnxruntime call on the same graph, one thread, one row."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from actors.gate import SIGNAL_FEATURES
from actors.model_folder import INPUT, ONNX, OUTPUT, load_model, open_session
from research.testing import small_model
from research.train_config import BoosterConfig
from research.training import publish
from strategies.kernel.columns import FEATURE_SCHEMA

CALLS = 5_000
ROUNDS = 5
ROWS = 256


def percentiles(call: Callable[[int], object]) -> tuple[float, float]:
    """Return p50 and p99 in microseconds: the medians over rounds."""
    for i in range(500):
        call(i % ROWS)
    rounds = []
    for _ in range(ROUNDS):
        taken = np.empty(CALLS)
        for i in range(CALLS):
            started = time.perf_counter_ns()
            call(i % ROWS)
            taken[i] = time.perf_counter_ns() - started
        rounds.append(np.percentile(taken, [50, 99]) / 1_000)
    p50, p99 = np.median(rounds, axis=0)
    return float(p50), float(p99)


def main() -> None:
    """Print one line per way of scoring."""
    booster = BoosterConfig(trees=300, num_leaves=31, max_depth=10, min_data_in_leaf=5, learning_rate=0.05)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "model"
        publish(small_model(booster=booster), folder)
        started = time.perf_counter()
        model = load_model(folder, schema=FEATURE_SCHEMA)
        loading = time.perf_counter() - started
        session = open_session((folder / ONNX).read_bytes())
    random = np.random.default_rng(1)
    values = random.normal(size=(ROWS, len(SIGNAL_FEATURES)))
    pick = [SIGNAL_FEATURES.index(name) for name in model.features]
    rows = [np.ascontiguousarray(row[pick], dtype=np.float32)[None, :] for row in values]

    bare = percentiles(lambda i: session.run([OUTPUT], {INPUT: rows[i]}))
    full = percentiles(lambda i: model.score(values[i]))
    print(f"model: {booster.trees} trees of {booster.num_leaves} leaves; verified load {loading * 1e3:.0f} ms")
    print(f"bare onnxruntime run   p50 {bare[0]:6.1f} us   p99 {bare[1]:6.1f} us")
    print(f"LoadedModel.score      p50 {full[0]:6.1f} us   p99 {full[1]:6.1f} us   ({full[0] / bare[0]:.2f}x at p50)")


if __name__ == "__main__":
    main()
