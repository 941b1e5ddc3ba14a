"""
From a LightGBM booster to a graph that decides exactly alike.

LightGBM compares float64 thresholds, the graph float32 ones; a plain conversion moves some thresholds to the other side
of some inputs. All inputs here are float32, and for those ``x <= t`` means the same as ``x <= floor32(t)``, `floor32`
being the largest float32 not above t. So the booster's own thresholds are replaced first (its predictions do not
change, which is checked), and the graph then holds the very same numbers. What remains is the float32 sum of the leaf
values, some 1e-7 in probability. The silent conversion errors of `knowledge/ml-stack.md` §2 are caught by
:func:`check_parity` on real rows, on every threshold and one step beside it, on unknown and infinite values.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.model_folder import INPUT, OUTPUT, SELF_TEST_TOLERANCE, open_session, run_session
from strategies.errors import ModelError
from strategies.yaml_config import FrozenConfig

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]

OPSET = 15
ML_OPSET = 1
IR_VERSION = 8
MIN_PARITY_ROWS = 10_000
SELF_TEST_ROWS = 64

ZERO = np.float32(1e-35)
"""LightGBM's own bound (``kZeroThreshold``): inputs of at most this size count as zero."""

_TREES = "\nTree=0\n"
_END = "end of trees"


class Split(NamedTuple):
    """One decision of the model: column and threshold."""

    column: int
    threshold: float


class Parity(FrozenConfig, frozen=True):
    """
    What the comparison of graph and reference found.

    Parameters
    ----------
    rows : int
        Rows compared.
    kinds : dict[str, int]
        Rows by origin.
    splits : int
        Distinct (column, threshold) pairs on which rows were placed.
    max_abs_diff : float
        Largest difference in probability.
    flips : int
        Rows on different sides of the decision threshold.

    """

    rows: int
    kinds: dict[str, int]
    splits: int
    max_abs_diff: float
    flips: int


def graph_thresholds(values: Floats) -> Float32s:
    """
    Return, for each LightGBM threshold, the float32 that decides alike on every float32 input.

    That is :func:`floor32`, except around zero: LightGBM takes any input within :data:`ZERO` of 0 for 0 before it
    compares, which a graph does not. So a threshold there becomes `ZERO`, or, if negative, the float32 below `-ZERO`.
    """
    result = floor32(values)
    tiny = np.abs(values) <= float(ZERO)
    result[tiny & (values >= 0)] = ZERO
    result[tiny & (values < 0)] = np.nextafter(-ZERO, np.float32(-np.inf))
    return result


def floor32(values: Floats) -> Float32s:
    """Return the largest float32 not above each value; a finite value beyond the float32 range becomes its end."""
    largest = float(np.finfo(np.float32).max)
    clipped = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
    near = clipped.astype(np.float32)
    with np.errstate(over="ignore"):
        below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > clipped, below, near)


def with_float32_thresholds(model_text: str) -> str:
    """
    Return the text of a LightGBM model with every split threshold replaced by its float32 twin.

    Raises
    ------
    ModelError
        Fail closed: the text is not laid out as known, or the model has categorical splits or linear leaves.

    """
    head, found, rest = model_text.partition(_TREES)
    if not found or _END not in rest:
        raise ModelError("the model has no trees, or LightGBM lays its files out in a new way")
    body, end, tail = (found[1:] + rest).partition(_END)
    trees = re.split(r"(?m)^(?=Tree=\d+$)", body)[1:]
    if re.findall(r"(?m)^tree_sizes=(.*)$", head) != [" ".join(str(len(t.encode())) for t in trees)]:
        raise ModelError("the model's tree sizes do not fit its trees: LightGBM lays its files out in a new way")
    if re.search(r"(?m)^num_cat=(?!0$)", body) or re.search(r"(?m)^is_linear=(?!0$)", body):
        raise ModelError("categorical splits and linear leaves cannot be exported exactly")
    trees = [re.sub(r"(?m)^threshold=(.*)$", lambda m: f"threshold={_floored(m[1])}", tree) for tree in trees]
    head = re.sub(r"(?m)^tree_sizes=.*$", "tree_sizes=" + " ".join(str(len(t.encode())) for t in trees), head)
    return f"{head}\n{''.join(trees)}{end}{tail}"


def splits_of(model_text: str) -> list[Split]:
    """Return the distinct splits of a model, sorted."""
    columns = re.findall(r"(?m)^split_feature=(.*)$", model_text)
    thresholds = re.findall(r"(?m)^threshold=(.*)$", model_text)
    pairs = {
        Split(int(c), float(t))
        for row, values in zip(columns, thresholds, strict=True)
        for c, t in zip(row.split(), values.split(), strict=True)
    }
    return sorted(pairs)


def to_onnx(booster: Any, columns: int) -> bytes:
    """
    Return the serialised graph of a binary booster: float32 (n, columns) in, probabilities (n, 2) out.

    The converter's label output, its identities and its random names are left out: the graph is one node, and equal
    boosters give equal bytes.

    Raises
    ------
    ModelError
        Fail closed: the converter produced something else than one binary tree ensemble.

    """
    import onnx  # noqa: PLC0415 - heavy, and only training needs it
    from onnxmltools.convert import convert_lightgbm  # noqa: PLC0415 - as above
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415 - as above

    converted = convert_lightgbm(
        booster,
        name="argonaut",
        initial_types=[(INPUT, FloatTensorType([None, columns]))],
        zipmap=False,
        target_opset=OPSET,
    )
    ensembles = [node for node in converted.graph.node if node.op_type == "TreeEnsembleClassifier"]
    if len(ensembles) != 1:
        raise ModelError(f"the converter made {len(ensembles)} tree ensembles instead of one")
    node = onnx.helper.make_node(
        "TreeEnsembleClassifier", [INPUT], ["label", OUTPUT], name="trees", domain="ai.onnx.ml"
    )
    node.attribute.extend(sorted(ensembles[0].attribute, key=lambda attribute: attribute.name))
    graph = onnx.helper.make_graph(
        [node],
        "argonaut",
        [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, [None, columns])],
        [onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [None, 2])],
    )
    model = onnx.helper.make_model(
        graph,
        producer_name="argonaut",
        opset_imports=[onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def parity_rows(splits: list[Split], real: Float32s, seed: int) -> tuple[Float32s, dict[str, int]]:
    """
    Return at least :data:`MIN_PARITY_ROWS` rows on which a wrong export shows itself, and how many of which kind.

    Real rows; for every split a real row with the value exactly on the threshold, one float32 step above and one below;
    rows with many values on thresholds at once; rows with unknown, zero, denormal, huge and infinite values.
    """
    if not len(real):
        raise ModelError("no feature rows to check the exported model on: widen the training range")
    random = np.random.default_rng(seed)
    columns = real.shape[1]

    def sample(count: int) -> Float32s:
        return real[random.integers(0, len(real), count)].copy()

    kinds = {"real": real if len(real) <= MIN_PARITY_ROWS else real[:: len(real) // MIN_PARITY_ROWS]}
    column = np.repeat([s.column for s in splits], 3)
    on = np.repeat(np.array([s.threshold for s in splits], dtype=np.float32), 3)
    with np.errstate(over="ignore"):
        on[1::3] = np.nextafter(on[1::3], np.float32(np.inf))
        on[2::3] = np.nextafter(on[2::3], np.float32(-np.inf))
    kinds["on_threshold"] = sample(len(column))
    kinds["on_threshold"][np.arange(len(column)), column] = on
    kinds["many_on_thresholds"] = sample(MIN_PARITY_ROWS // 2)
    for c in range(columns):
        values = on[column == c]
        if len(values):
            hit = random.random(len(kinds["many_on_thresholds"])) < 0.7
            kinds["many_on_thresholds"][hit, c] = random.choice(values, int(hit.sum()))
    odd = (np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 1e-35, -1e-35, 3e38, -3e38)
    kinds["odd_values"] = np.concatenate(
        [
            np.repeat(np.array(odd, dtype=np.float32)[:, None], columns, axis=1),
            sample(MIN_PARITY_ROWS // 2),
        ]
    )
    where = random.random(kinds["odd_values"].shape) < 0.25
    where[: len(odd)] = False
    kinds["odd_values"][where] = random.choice(np.array(odd, dtype=np.float32), int(where.sum()))
    kinds["unknown"] = sample(MIN_PARITY_ROWS // 4)
    kinds["unknown"][random.random(kinds["unknown"].shape) < 0.4] = np.nan
    short = MIN_PARITY_ROWS - sum(map(len, kinds.values()))
    if short > 0:
        kinds["real_again"] = sample(short)
    return np.concatenate(list(kinds.values())), {kind: len(rows) for kind, rows in kinds.items()}


def reference_probabilities(booster: Any, rows: Float32s) -> Floats:
    """Return the booster's probability of class 1 for float32 rows, one thread."""
    return np.asarray(booster.predict(rows.astype(np.float64), num_threads=1), dtype=np.float64)


def check_parity(
    reference: Floats,
    served: Floats,
    threshold: float,
    calibrate: Callable[[Floats], Floats],
    found: tuple[dict[str, int], int],
) -> Parity:
    """
    Compare graph and reference on the same rows.

    Parameters
    ----------
    reference, served : np.ndarray
        float64 probabilities before calibration, shape (n,).
    threshold : float
        Decision threshold on calibrated probabilities.
    calibrate : Callable
        What is applied after the graph.
    found : tuple[dict[str, int], int]
        Rows by kind, and number of splits, for the record.

    Returns
    -------
    Parity
        The measured agreement.

    Raises
    ------
    ModelError
        Fail closed: fewer than 10,000 rows, a difference above 1e-6, or a decision that differs.

    """
    result = Parity(
        rows=len(reference),
        kinds=found[0],
        splits=found[1],
        max_abs_diff=float(np.max(np.abs(reference - served))) if len(reference) else float("nan"),
        flips=int(np.count_nonzero((calibrate(reference) >= threshold) != (calibrate(served) >= threshold))),
    )
    if result.rows < MIN_PARITY_ROWS:
        raise ModelError(f"parity: {result.rows} rows compared, at least {MIN_PARITY_ROWS} are needed")
    if not result.max_abs_diff <= SELF_TEST_TOLERANCE:
        raise ModelError(
            f"parity: the exported graph differs from LightGBM by {result.max_abs_diff:.3g} in probability "
            f"(at most {SELF_TEST_TOLERANCE:g} on {result.rows} rows): nothing was written"
        )
    if result.flips:
        raise ModelError(
            f"parity: {result.flips} of {result.rows} decisions differ at {threshold:.6f}: nothing was written"
        )
    return result


def served_probabilities(graph: bytes, rows: Float32s) -> Floats:
    """Return the graph's probability of class 1 (float64, before calibration) for float32 rows."""
    return run_session(open_session(graph), np.ascontiguousarray(rows))


def _floored(values: str) -> str:
    thresholds = np.array([float(v) for v in values.split()], dtype=np.float64)
    return " ".join(repr(float(v)) for v in graph_thresholds(thresholds))
