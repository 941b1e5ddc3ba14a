"""Drift is told by name, once per excursion, and a challenger is recorded but never heard by anything that decides."""

import numpy as np
import pytest

from actors.distribution import Bins, bins_of, chance, noise, psi
from actors.drift import DriftMonitor, DriftMonitorConfig
from actors.ml_filter import MlFilter, MlFilterConfig
from node.journal import open_journal
from node.watching import restored_drift
from research.testing import FEATURES, small_model
from research.training import publish
from strategies import records
from strategies.messages import Reason
from strategies.records import SignalRecord, TradeRecord, VerdictRecord
from tests.actors.test_ml_filter import BAD, BAR, GOOD, START, Bench, _signal

SEED = 4


@pytest.fixture(name="bench")
def bench_fixture():
    found = Bench()
    found.records = []
    found.msgbus.subscribe(f"{records.TOPIC}.verdict", found.records.append)
    return found


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    random = np.random.default_rng(SEED)
    spread = {name: bins_of(random.normal(size=2_000)) for name in FEATURES}
    model = small_model(distribution=spread | {"score": bins_of(random.random(2_000))})
    publish(model, tmp_path / "model")
    return tmp_path / "model"


def _codes(bench):
    return [i.code for i in bench.incidents]


def _monitor(bench, folder, **options):
    return bench.start(DriftMonitor(DriftMonitorConfig(model_dir=str(folder), raise_errors=True, **options)))


def test_index_against_a_sum_by_hand_and_what_chance_gives():
    then = Bins(edges=[0.0], counts=[50, 50, 0])
    p, q = np.array([50.5, 50.5]) / 101, np.array([2.5, 8.5]) / 11
    assert psi(then, np.array([2, 8, 0])) == pytest.approx(float(np.sum((q - p) * np.log(q / p))))
    assert psi(then, np.array([5, 5, 0])) == 0.0
    assert np.isnan(psi(then, np.zeros(3)))
    random = np.random.default_rng(SEED)
    trained = bins_of(random.normal(size=3_000))
    assert sum(trained.counts) == 3_000
    found = [psi(trained, trained.count(random.normal(size=150))) for _ in range(200)]
    assert np.mean(found) == pytest.approx(noise(trained, 150), rel=0.25), f"seed {SEED}"
    assert max(found) < chance(trained, 150), f"seed {SEED}"
    assert trained.index(float("nan")) == len(trained.counts) - 1


def test_a_shifted_feature_is_named_once_and_its_return_told(bench, folder):
    monitor = _monitor(bench, folder, window=60, every=10)
    bench.start(MlFilter(MlFilterConfig(model_dir=str(folder), mode="shadow")))
    random = np.random.default_rng(SEED)

    def feed(count, first, shift):
        for bar in range(first, first + count):
            values = dict(zip(FEATURES, random.normal(size=len(FEATURES)), strict=True))
            bench.ask(_signal(bar, **(values | {"stoch_k": values["stoch_k"] + shift})))

    feed(120, 1, 0.0)
    assert "feature_drift" not in _codes(bench), f"seed {SEED}: {monitor.psi}"
    feed(100, 200, 3.0)
    told = [i.message for i in bench.incidents if i.code == "feature_drift"]
    assert len(told) == 1
    assert told[0].startswith("stoch_k: stability index")
    feed(100, 400, 0.0)
    assert _codes(bench).count("drift_over") >= 1
    assert _codes(bench).count("feature_drift") == 1


def _trade(bar, reason, score_signal):
    return TradeRecord(
        id=f"t{bar}", market_time=bar, wall_time=bar, symbol="XRPUSDT", side="LONG", entry_time=1, entry_price=1.0,
        exit_time=2, exit_price=1.0, quantity=1.0, stop=None, target=None, exit_reason=reason, gross_pnl=0.0, fees=0.0,
        funding=0.0, net_pnl=0.0, signal_id=score_signal, verdicts=[],
    )  # fmt: skip


@pytest.mark.parametrize(("share", "drifted"), [(0.0, True), (None, False)], ids=["never", "as promised"])
def test_scores_that_are_not_kept_are_told(bench, folder, share, drifted):
    monitor = _monitor(bench, folder, trades=40)
    bench.start(MlFilter(MlFilterConfig(model_dir=str(folder), mode="shadow")))
    random = np.random.default_rng(SEED)
    for bar in range(1, 61):
        verdict = bench.ask(_signal(bar, rsi=float(random.normal())))
        hit = random.random() < (verdict.score if share is None else share)
        trade = _trade(bar, "TAKE_PROFIT" if hit else "STOP_LOSS", verdict.signal_id)
        bench.msgbus.publish(trade.topic, trade)
    reverse = _trade(99, "REVERSE_SIGNAL", verdict.signal_id)
    bench.msgbus.publish(reverse.topic, reverse)
    assert ("calibration_drift" in _codes(bench)) == drifted, f"seed {SEED}: {monitor.calibration}"
    assert _codes(bench).count("calibration_drift") <= 1


def test_without_a_distribution_or_a_model_this_is_said(bench, tmp_path):
    _monitor(bench, tmp_path / "nothing").stop()
    assert _codes(bench) == ["drift_unmeasured"]
    publish(small_model(), tmp_path / "plain")
    other = Bench()
    _monitor(other, tmp_path / "plain")
    assert _codes(other) == ["drift_unmeasured"]


def test_a_challenger_is_recorded_under_its_own_label_and_decides_nothing(bench, folder, tmp_path):
    publish(small_model(seed=2, threshold=0.999), tmp_path / "challenger")
    gate = bench.start(MlFilter(MlFilterConfig(model_dir=str(folder), challenger_dir=str(tmp_path / "challenger"))))
    good, bad = bench.ask(_signal(1, **GOOD)), bench.ask(_signal(2, **BAD))  # `ask` sees one Verdict per Signal
    assert (good.passed, bad.passed) == (True, False)
    assert [(r.gate, r.passed, r.reason) for r in bench.records] == [
        ("challenger", False, Reason.ML_BELOW_THRESHOLD),
        ("challenger", False, Reason.ML_BELOW_THRESHOLD),
    ]
    assert bench.records[0].id == f"{good.signal_id}/challenger"
    assert bench.records[0].score != good.score
    (tmp_path / "challenger" / "model.onnx").write_bytes(b"")
    (tmp_path / "challenger" / "model.json").touch()
    assert bench.ask(_signal(3, **GOOD)).passed
    assert bench.records[-1].reason == Reason.ML_NO_MODEL
    assert "hash_mismatch" in bench.records[-1].detail
    gate.stop()


def _heard(bench, journal, signal, verdict):
    """Store what a recorder would."""
    journal.record(
        SignalRecord(
            id=signal.signal_id, market_time=signal.bar_close, wall_time=1, strategy="CMP", symbol="XRPUSDT",
            side="LONG", strength=3.0, reference_price=2.0, stop_price=1.9, target_price=2.4,
            features=[None if np.isnan(x) else float(x) for x in signal.feature_row()], schema=signal.schema,
        )
    )  # fmt: skip
    journal.record(
        VerdictRecord(
            id=f"{signal.signal_id}/ml", market_time=signal.bar_close, wall_time=1, signal_id=signal.signal_id,
            symbol="XRPUSDT", gate="ml", passed=verdict.passed, reason=verdict.reason, score=verdict.score,
            threshold=verdict.threshold, detail=verdict.detail,
        )
    )  # fmt: skip


@pytest.mark.parametrize("exchanged", [False, True], ids=["same model", "model exchanged meanwhile"])
def test_a_restart_goes_on_with_full_windows_and_tells_nothing_twice(folder, tmp_path, exchanged):
    options = {"window": 60, "every": 10, "trades": 20}
    journal = open_journal(f"sqlite:///{tmp_path}/j.sqlite")
    random = np.random.default_rng(SEED)
    whole, first = Bench(), Bench()
    monitors = [_monitor(b, folder, **options) for b in (whole, first)]
    for b in (whole, first):
        b.start(MlFilter(MlFilterConfig(model_dir=str(folder), mode="shadow")))

    def feed(benches, bars, *, store):
        for bar in bars:
            values = dict(zip(FEATURES, random.normal(size=len(FEATURES)), strict=True))
            signal = _signal(bar, **(values | {"stoch_k": values["stoch_k"] + 3.0}))
            for b in benches:
                verdict = b.ask(signal)
            trade = _trade(START + bar * BAR + 1, "STOP_LOSS", signal.signal_id) if bar % 3 == 0 else None
            for b in benches if trade else ():
                b.msgbus.publish(trade.topic, trade)
            if store:
                _heard(benches[-1], journal, signal, verdict)
                if trade:
                    journal.record(trade)

    feed((whole, first), range(1, 131), store=True)
    assert {"feature_drift", "calibration_drift"} <= set(_codes(first))
    for incident in first.incidents:
        journal.record(incident)
    journal.flush()

    if exchanged:
        spread = {name: bins_of(random.normal(size=2_000)) for name in FEATURES}
        publish(small_model(seed=9, distribution=spread | {"score": bins_of(random.random(2_000))}), folder)
    second = Bench()
    restored = restored_drift(journal, 60)
    journal.close()
    monitor = _monitor(second, folder, restored=restored, **options)
    second.start(MlFilter(MlFilterConfig(model_dir=str(folder), mode="shadow")))
    if exchanged:  # what another model said, of rows it was asked about, answers nothing about this one
        assert all(len(rows) == 0 for rows in monitor._rows.values())
        assert not monitor._scores
        assert not monitor._closed
        return
    before = monitors[0]
    assert monitor._rows == before._rows
    assert all((monitor._counts[n] == before._counts[n]).all() for n in before._counts)
    assert list(monitor._closed) == list(before._closed)
    assert monitor._drifted == before._drifted
    assert not _codes(second), "told before the restart"
    told = len(whole.incidents)
    feed((whole, second), range(131, 171), store=False)
    assert [(i.code, i.message) for i in second.incidents] == [(i.code, i.message) for i in whole.incidents[told:]]
    assert monitor.psi.keys() == before.psi.keys()
    assert monitor.psi["stoch_k"] == before.psi["stoch_k"]
