"""Leaks across folds, features that know too much or nothing, models that are not what was trained: caught by name."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import trials
from actors.model_folder import MANIFEST, ONNX, SELF_TEST, encode_manifest, load_model
from research.doubt import leaks
from research.doubt.columns import examine_content, examine_encoding, examine_frozen
from research.doubt.folds import (
    examine_duplicates,
    examine_folds,
    examine_scaled,
    examine_scaler,
    examine_transformation,
)
from research.doubt.knowledge import examine_target, examine_timing, independent_labels
from research.doubt.model import examine_learned, examine_model, examine_training_period
from research.doubt.training_set import examine_training
from research.onnx_export import served_probabilities
from research.testing import small_model
from research.training import publish, sha256, train
from strategies.kernel.columns import FEATURE_SCHEMA, MODEL_FEATURES, column_indices
from strategies.kernel.composite import run_batch

HOUR = 3_600_000_000_000
NAMES = [f"f{i}" for i in range(6)]


@pytest.fixture(name="rows", scope="module")
def rows_fixture():
    random = np.random.default_rng(51)
    rows = random.normal(size=(1_000, 6)).astype(np.float32)
    label = (0.15 * rows[:, 0] + random.normal(size=1_000) > 0).astype(np.int64)
    rows[random.random(rows.shape) < 0.02] = np.nan
    return rows, label


class TestFolds:
    START = np.arange(200) * HOUR
    END = START + 5 * HOUR

    def folds(self, train, test):
        return [(np.array(train), np.array(test))]

    def test_purged_folds_stand(self):
        folds = [(np.arange(k * 40), np.arange(k * 40 + 5, k * 40 + 40)) for k in range(1, 5)]
        assert examine_folds(folds, self.START, self.END, forward=True).passed is True

    def test_a_label_that_ends_when_the_test_begins_is_no_overlap(self):
        assert examine_folds(self.folds([0], [5]), self.START, self.END).passed is True

    def test_a_label_that_ends_inside_the_test(self):
        found = examine_folds(self.folds(range(100), range(100, 200)), self.START, self.END)
        assert found.reason == "label_overlap"
        assert "4 training labels" in found.detail

    def test_a_long_label_far_before_the_test(self):
        end = self.END.copy()
        end[3] = 150 * HOUR
        found = examine_folds(self.folds(range(90), range(100, 200)), self.START, end)
        assert (found.reason, found.figures["problems"][0]["rows"]) == ("label_overlap", 1)

    def test_training_rows_after_the_test_whose_labels_it_reaches_into(self):
        found = examine_folds(self.folds(range(50, 100), range(50)), self.START, self.END)
        assert found.reason == "label_overlap"

    def test_rows_in_both(self):
        found = examine_folds(self.folds([1, 2, 60], [60, 61]), self.START, self.END)
        assert found.reason == "same_row"

    def test_the_same_signal_under_another_row_number(self):
        start, end = np.append(self.START, self.START[120]), np.append(self.END, self.END[120])
        key = np.zeros(201, int)
        found = examine_folds([(np.append(np.arange(90), 200), np.arange(100, 199))], start, end, key=key)
        assert found.reason == "same_row"

    def test_shuffled_folds_fall(self):
        order = np.random.default_rng(1).permutation(200)
        assert examine_folds([(order[:150], order[150:])], self.START, self.END).passed is False

    def test_training_on_the_future(self):
        found = examine_folds(self.folds(range(100, 200), range(50)), self.START, self.END, forward=True)
        assert found.reason == "trained_on_the_future"

    def test_embargo(self):
        folds = self.folds(range(55, 100), range(20, 50))
        assert examine_folds(folds, self.START, self.END).passed is True
        assert examine_folds(folds, self.START, self.END, embargo=10 * HOUR).reason == "embargo_too_short"

    def test_random_spans_against_the_definition(self):
        for seed in range(50):
            random = np.random.default_rng(seed)
            start = random.integers(0, 100, 20)
            end = start + random.integers(1, 30, 20)
            overlap = any(start[a] < end[b] and start[b] < end[a] for a in range(10) for b in range(10, 20))
            found = examine_folds([(np.arange(10), np.arange(10, 20))], start, end, key=np.arange(20))
            assert found.passed is not overlap, f"seed {seed}"


class TestDuplicatesAndScaling:
    def test_copies_of_training_rows_in_the_test(self, rows):
        train, test = rows[0][:700], rows[0][700:].copy()
        assert examine_duplicates(train, test).passed is True
        test[17] = train[3]
        found = examine_duplicates(train, test)
        assert (found.reason, found.figures["first"]) == ("duplicate_rows", 17)

    @pytest.mark.parametrize("noise", [0.0, 1e-6], ids=["one column changed", "noise"])
    def test_copies_with_little_changed(self, rows, noise):
        random = np.random.default_rng(6)
        train, test = rows[0][:700], rows[0][700:].copy()
        test[30:50] = train[30:50] + noise * random.normal(size=(20, 6)).astype(np.float32)
        if not noise:
            test[30:50, 4] = random.normal(size=20)
        found = examine_duplicates(train, test)
        assert (found.reason, found.figures["rows"]) == ("duplicate_rows", 20)
        assert found.figures["first"] == 30
        flags = (random.random((1_000, 6)) < 0.5).astype(np.float32)  # what has few values meets itself by right
        both = np.column_stack([flags, random.normal(size=(1_000, 2))])
        assert examine_duplicates(both[:700], both[700:]).passed is True

    @pytest.mark.parametrize(
        "scaler",
        [
            MaxAbsScaler(),
            MinMaxScaler((-1, 1)),
            StandardScaler(with_std=False),
            QuantileTransformer(output_distribution="normal", n_quantiles=1_000),
            PowerTransformer(),
        ],
        ids=["largest magnitude", "-1 to 1", "mean alone", "normal quantiles", "power"],
    )
    def test_other_scalers_fitted_on_everything(self, rows, scaler):
        clean = np.exp(np.nan_to_num(rows[0].astype(np.float64)))
        clean[900] *= 40
        for fitted_on, reason in ((clean, "fitted_on_all"), (clean[:700], "stands")):
            scaler.fit(fitted_on)
            found = examine_scaled(scaler.transform(clean[:700]), scaler.transform(clean[700:]), NAMES)
            assert found.reason == reason

    @pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, RobustScaler])
    def test_a_scaler_fitted_on_everything(self, rows, scaler):
        clean = np.nan_to_num(rows[0].astype(np.float64))
        train, test = clean[:700], clean[700:]
        whole, honest = scaler().fit(clean), scaler().fit(train)
        assert examine_scaled(whole.transform(train), whole.transform(test), NAMES).reason == "fitted_on_all"
        assert examine_scaled(honest.transform(train), honest.transform(test), NAMES).passed is True

        def leaky(a, b):
            fitted = scaler().fit(np.concatenate([a, b]))
            return fitted.transform(a), fitted.transform(b)

        def on_test(a, b):
            return scaler().fit(a).transform(a), scaler().fit(b).transform(b)

        def sound(a, b):
            fitted = scaler().fit(a)
            return fitted.transform(a), fitted.transform(b)

        assert examine_transformation(leaky, train, test).reason == "fitted_on_all"
        assert examine_transformation(on_test, train, test).reason == "fitted_on_all"
        assert examine_transformation(sound, train, test).passed is True

    def test_the_stored_figures_of_a_scaler(self, rows):
        clean = np.nan_to_num(rows[0].astype(np.float64))
        train, test = clean[:700], clean[700:]
        whole, honest = StandardScaler().fit(clean), StandardScaler().fit(train)
        assert examine_scaler(whole.mean_, whole.scale_, train, test, NAMES).figures["columns"] == NAMES
        assert examine_scaler(honest.mean_, honest.scale_, train, test, NAMES).passed is True

    def test_an_oscillator_is_not_taken_for_quantiles(self):
        """From 0 to 100 nearly all lies beyond the normal distribution's end, where all its steps are alike."""
        random = np.random.default_rng(8)
        column = np.concatenate([random.uniform(12, 90, 1_000), [6.3, 6.9]])
        assert examine_scaled(column[:700, None], column[700:, None], ["rsi"]).passed is True

    def test_ranks_over_everything(self, rows):
        ranks = rows[0][:, 0].argsort().argsort() / 1_000
        found = examine_scaled(ranks[:700, None], ranks[700:, None], ["rank"])
        assert found.reason == "fitted_on_all"


class TestColumns:
    def test_honest(self, rows):
        assert examine_content(rows[0], NAMES).passed is True
        assert examine_target(rows[0], rows[1], NAMES).passed is True

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (np.full(1_000, 3.5), "constant_feature"),
            (np.full(1_000, np.nan), "empty_feature"),
            (np.where(np.arange(1_000) == 5, 1.0, 0.0), "constant_feature"),
            (np.where(np.arange(1_000) % 3, np.nan, 7.0), "constant_feature"),
            (3.5 + np.random.default_rng(1).normal(0, 1e-7, 1_000), "constant_feature"),
            (1e6 + np.random.default_rng(1).normal(0, 1e-3, 1_000), "constant_feature"),
        ],
    )
    def test_a_feature_without_content(self, rows, values, reason):
        found = examine_content(np.column_stack([rows[0], values]), [*NAMES, "planted"])
        assert found.reason == reason
        assert "planted" in found.detail
        assert list(found.figures["columns"]) == ["planted"]

    def test_a_doubled_feature(self, rows):
        found = examine_content(np.column_stack([rows[0], rows[0][:, 2]]), [*NAMES, "planted"])
        assert (found.reason, found.detail) == (
            "duplicate_feature", "planted: duplicate_feature (equal to f2)")  # fmt: skip

    @pytest.mark.parametrize("change", [lambda x: 2 * x + 1, lambda x: -x, np.exp], ids=["scaled", "negated", "exp"])
    def test_a_feature_in_the_order_of_another(self, rows, change):
        found = examine_content(np.column_stack([rows[0], change(rows[0][:, 2])]), [*NAMES, "planted"])
        assert (found.reason, list(found.figures["columns"])) == ("duplicate_feature", ["planted"])
        near = rows[0][:, 2] + np.random.default_rng(1).normal(0, 0.02, 1_000)
        assert examine_content(np.column_stack([rows[0], near]), [*NAMES, "near"]).passed is True

    @pytest.mark.parametrize(
        "plant",
        [
            lambda y, r: (
                np.column_stack([(2 * (y ^ (b := r.integers(0, 2, len(y)))) - 1), 2 * b - 1])
                * np.abs(r.normal(size=(len(y), 2)))
            ),
            lambda y, r: 0.2 * y[:, None] + r.normal(size=(len(y), 60)),
        ],
        ids=["two that tell it together", "sixty that tell a little each"],
    )
    def test_features_that_know_the_label_together(self, rows, plant):
        planted = plant(rows[1], np.random.default_rng(2))
        names = [*NAMES, *(f"p{i}" for i in range(planted.shape[1]))]
        found = examine_target(np.column_stack([rows[0], planted]), rows[1], names)
        assert found.reason == "target_leak"
        assert "together" in found.detail

    @pytest.mark.parametrize(
        "plant",
        [
            lambda y, _: y + 0.0,
            lambda y, r: -y + r.normal(0, 0.4, len(y)),
            lambda y, r: np.where(y == 1, np.nan, r.normal(size=len(y))),
            lambda y, r: np.abs(r.normal(0, 0.2, len(y)) + y) * np.where(r.random(len(y)) < 0.5, -1, 1),
        ],
        ids=["the label", "the label with noise", "missing where good", "symmetric"],
    )
    def test_a_feature_that_knows_the_label(self, rows, plant):
        planted = plant(rows[1], np.random.default_rng(2))
        found = examine_target(np.column_stack([rows[0], planted]), rows[1], [*NAMES, "planted"])
        assert found.reason == "target_leak"
        assert list(found.figures["columns"]) == ["planted"]

    @pytest.mark.parametrize(("area", "apart"), [(0.64, 0.507), (0.70, 0.742)])
    def test_a_feature_that_knows_little_of_the_label(self, rows, area, apart):
        """The label under so much noise that an area under the curve of 0.64 is left: below, chance has its say."""
        label = rows[1]
        planted = label * apart + np.random.default_rng(2).normal(size=1_000)
        found = examine_target(np.column_stack([rows[0], planted]), label, [*NAMES, "planted"])
        assert (found.reason, list(found.figures["columns"])) == ("target_leak", ["planted"])
        assert found.figures["columns"]["planted"] == pytest.approx(area, abs=0.02)

    def test_what_a_trend_makes_of_overlapping_labels_is_no_leak(self):
        """One side wins for a fortnight: labels that share their bars say this once, not in every row."""
        random = np.random.default_rng(4)
        start = np.sort(random.integers(0, 15 * 96, 300)) * HOUR // 4
        side = random.choice([1, -1], 300)
        label = (random.random(300) < np.where(side > 0, 0.5, 0.15)).astype(np.int64)
        table = np.column_stack([random.normal(size=(300, 3)), side + 0.1 * random.normal(size=300)])
        names = ["a", "b", "c", "side"]
        assert examine_target(table, label, names).reason == "target_leak", "rows of their own would say so"
        few = independent_labels(start, start + 24 * HOUR)
        assert 10 < few < 20
        assert examine_target(table, label, names, independent=few).passed is True

    def test_target_means_over_the_whole_set(self, rows):
        """A category replaced by the mean label of its members, the row itself included."""
        category = np.arange(1_000) // 2
        means = np.array([rows[1][category == c].mean() for c in category])
        found = examine_target(np.column_stack([rows[0], means]), rows[1], [*NAMES, "encoded"])
        assert list(found.figures["columns"]) == ["encoded"]

    def test_noise_is_never_accused(self):
        for seed in range(25):
            random = np.random.default_rng(seed)
            label = random.integers(0, 2, 300)
            assert examine_target(random.normal(size=(300, 12)), label, list("abcdefghijkl")).passed is not False, seed

    def test_a_feature_shifted_by_one_bar(self):
        random = np.random.default_rng(3)
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.003, 3_000)))
        ret = np.diff(np.log(close), prepend=np.nan)
        smooth = np.convolve(np.nan_to_num(ret), np.ones(14) / 14, "full")[:3_000]
        honest = np.column_stack([ret, smooth, close])
        assert examine_timing(honest, ["ret", "smooth", "level"], close).passed is True
        shifted = np.column_stack([ret, np.append(smooth[1:], np.nan), close])
        found = examine_timing(shifted, ["ret", "smooth", "level"], close)
        assert (found.reason, list(found.figures["columns"])) == ("knows_next_bar", ["smooth"])

    @pytest.mark.parametrize("plant", ["14 bars", "50 bars", "size of the next"])
    def test_a_feature_that_knows_little_of_later_bars(self, plant):
        random = np.random.default_rng(5)
        moves = random.normal(0, 0.003, 6_000) * np.exp(0.5 * np.sin(np.arange(6_000) / 130))
        price = np.cumsum(moves)
        swing = np.empty(6_000)
        swing[0] = 0.003
        for i in range(1, 6_000):
            swing[i] = swing[i - 1] + (abs(moves[i]) - swing[i - 1]) / 14
        planted = np.append(swing[1:], np.nan)
        if plant != "size of the next":
            bars = int(plant.split()[0])
            ahead = np.append(price[bars:] - price[:-bars], np.full(bars, np.nan))
            planted = 0.4 * ahead / np.nanstd(ahead) + random.normal(size=6_000)
        honest = np.column_stack([np.diff(price, prepend=np.nan), swing])
        assert examine_timing(honest, ["ret", "swing"], np.exp(price)).passed is True
        found = examine_timing(np.column_stack([honest, planted]), ["ret", "swing", "planted"], np.exp(price))
        assert (found.reason, list(found.figures["columns"])) == ("knows_next_bar", ["planted"])


class TestTrainingSet:
    def test_ours_is_honest(self, train_config, market_catalog):
        answers = examine_training(train_config, market_catalog)
        assert [(d.name, d.reason.value) for d in answers if d.passed is False] == []
        assert {"folds", "duplicate rows", "scaling", "content of features", "features against label"} <= {
            d.name for d in answers if d.passed
        }

    def test_without_purging_it_falls(self, train_config, market_catalog, monkeypatch):
        import research.training

        def unpurged(data, window, closes_before):
            return np.flatnonzero((data.open_time >= window[0]) & (data.open_time < window[1]))

        monkeypatch.setattr(research.training, "select", unpurged)
        answers = {d.name: d for d in examine_training(train_config, market_catalog)}
        assert answers["folds"].reason == "label_overlap"

    def test_an_empty_column_a_model_was_given(self, train_config, market_catalog):
        """Training leaves it out; a model that was given it all the same is examined with it."""
        given = ("rsi", "oi_change", "stoch_k")
        answers = {d.name: d for d in examine_training(train_config, market_catalog, given)}
        assert answers["content of features"].figures["columns"] == {"oi_change": "empty_feature"}

    @pytest.mark.parametrize(
        ("plant", "reason"),
        [
            ("label under noise", "not_recomputed"),
            ("label in later rows only", "not_recomputed"),
            ("one bar later", "look_ahead"),
        ],
    )
    def test_a_feature_with_a_little_of_the_future(self, train_config, market_catalog, monkeypatch, plant, reason):
        """So little that no statistics show it: the row is not what the bars until then give."""
        import research.dataset
        import research.training

        honest, column = research.dataset.symbol_dataset, MODEL_FEATURES.index("rsi")

        def planted(bars, inputs, step, **settings):
            data = honest(bars, inputs, step, **settings)
            rows, random = data.rows.copy(), np.random.default_rng(3)
            if plant == "one bar later":
                later = run_batch(settings["vote"].over(settings["params"]), inputs)[
                    :, column_indices("model_features")
                ]
                at = np.searchsorted(bars.open_time, data.open_time)
                rows[:, column] = later[np.minimum(at + 1, len(later) - 1), column]
            else:
                part = slice(None) if plant == "label under noise" else slice(len(rows) // 2, None)
                rows[part, column] += 3 * data.label[part] + random.normal(size=len(rows[part]))
            return dataclasses.replace(data, rows=rows)

        monkeypatch.setattr(research.training, "symbol_dataset", planted)
        answers = {d.name: d for d in examine_training(train_config, market_catalog)}
        assert answers["features against label"].passed is True, "statistics do not see it"
        found = answers["features computed again"]
        assert (found.reason, list(found.figures["columns"])) == (reason, ["rsi"]), found.detail
        assert ("1 bar later" in found.detail) is (reason == "look_ahead")

    def test_the_command(self, train_config, market_catalog, tmp_path, capsys):
        path = tmp_path / "train.yaml"
        path.write_text(json.dumps(msgspec.to_builtins(train_config)))
        folder = tmp_path / "model"
        publish(small_model(), folder)
        code = leaks.main([
            "--config", str(path), "--catalog", str(market_catalog), "--model", str(folder),
            "--json", str(tmp_path / "o.json"), "--ledger", str(tmp_path / "trials.jsonl"),
        ])  # fmt: skip
        assert code == 0, capsys.readouterr().out
        assert json.loads((tmp_path / "o.json").read_text())["counts"]["falls"] == 0
        (line,) = trials.read(tmp_path / "trials.jsonl")
        assert (line.kind, line.trials, line.command[0]) == ("examination", 0, "research.doubt.leaks")
        assert line.result == str(folder)


def altered(graph, change):
    import onnx

    model = onnx.load_from_string(graph)
    (node,) = model.graph.node
    for attribute in node.attribute:
        change(attribute)
    return model.SerializeToString()


def one_leaf(attribute):
    if attribute.name == "class_weights":
        attribute.floats[3] += 0.05


def small_leaf(attribute):
    if attribute.name == "class_weights":
        attribute.floats[-1] += 2e-4


def two_leaves(attribute):
    if attribute.name == "class_weights":
        attribute.floats[0], attribute.floats[1] = attribute.floats[1], attribute.floats[0]


def two_branches(attribute):
    if attribute.name == "nodes_falsenodeids":
        first = next(i for i, n in enumerate(attribute.ints) if n)
        attribute.ints[first] = first + 1  # both answers lead to the same node


def another_column(attribute):
    if attribute.name == "nodes_featureids":
        attribute.ints[0] = (attribute.ints[0] + 1) % 5


def one_threshold(attribute):
    if attribute.name == "nodes_values":
        first = next(i for i, v in enumerate(attribute.floats) if v)
        attribute.floats[first] = float(np.nextafter(np.float32(attribute.floats[first]), np.float32(np.inf)))


def one_mode(attribute):
    if attribute.name == "nodes_modes":
        attribute.strings[0] = b"BRANCH_LT"


class TestModel:
    @pytest.fixture
    def folder(self, tmp_path):
        publish(small_model(), tmp_path / "model")
        return tmp_path / "model"

    @staticmethod
    def reseal(folder, graph):
        """Replace the graph and make every seal fit it again, self-test included."""
        (folder / ONNX).write_bytes(graph)
        with np.load(folder / SELF_TEST) as content:
            rows = content["rows"]
        with (folder / SELF_TEST).open("wb") as file:
            np.savez(file, rows=rows, probabilities=served_probabilities(graph, rows))
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=type(small_model().manifest))
        files = {name: sha256((folder / name).read_bytes()) for name in manifest.files}
        (folder / MANIFEST).write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))

    def test_honest(self, folder):
        assert [d.reason.value for d in examine_model(folder)] == ["stands"] * 3

    def test_an_altered_graph(self, folder):
        (folder / ONNX).write_bytes(altered((folder / ONNX).read_bytes(), one_leaf))
        answers = {d.name: d for d in examine_model(folder)}
        assert answers["model seals"].reason == "does_not_verify"
        assert answers["model export"].reason == "export_differs"

    @pytest.mark.parametrize(
        "change", [one_leaf, small_leaf, two_leaves, two_branches, another_column, one_threshold, one_mode]
    )
    def test_an_altered_graph_that_was_sealed_anew(self, folder, change):
        self.reseal(folder, altered((folder / ONNX).read_bytes(), change))
        load_model(folder, schema=FEATURE_SCHEMA)  # every seal fits
        answers = {d.name: d for d in examine_model(folder)}
        assert answers["model seals"].passed is True
        assert answers["model export"].reason == "export_differs"

    def test_another_models_graph(self, folder):
        self.reseal(folder, small_model(seed=2).files[ONNX])
        assert {d.name: d.reason.value for d in examine_model(folder)}["model export"] == "export_differs"

    def test_a_model_that_has_seen_the_test_period(self):
        manifest = small_model(trained_until_ns=1_000 * HOUR).manifest
        assert examine_training_period(manifest, 1_000 * HOUR).passed is True
        assert examine_training_period(manifest, 999 * HOUR).reason == "trained_on_the_future"

    def test_no_folder(self, tmp_path):
        assert {d.reason.value for d in examine_model(tmp_path / "none")} == {"does_not_verify", "unavailable"}


class TestStandingStill:
    """A feature that varies in training and stands still in the test."""

    @pytest.mark.parametrize(("value", "reason"), [(1.5, "constant_feature"), (np.nan, "empty_feature")])
    def test_in_the_test_only(self, rows, value, reason):
        train, test = rows[0][:700], rows[0][700:].copy()
        assert examine_frozen(train, test, NAMES).passed is True
        test[:, 3] = value
        found = examine_frozen(train, test, NAMES)
        assert (found.reason, found.figures["columns"]) == (reason, {"f3": reason})

    def test_a_feature_that_seldom_changes_is_not_accused(self, rows):
        flag = (np.arange(1_000) % 50 == 0).astype(np.float32)
        both = np.column_stack([rows[0], flag])
        assert examine_frozen(both[:700], both[701:748], [*NAMES, "flag"]).passed is True


class TestEncodedTarget:
    KEY = np.arange(1_000) % 3
    TRAIN = np.arange(600)

    def encoded(self, label, part, weight=0.0):
        prior = label[part].mean()
        of = [label[part][self.KEY[part] == g] for g in range(3)]
        means = np.array([(x.sum() + weight * prior) / (len(x) + weight) for x in of])
        return means[self.KEY].astype(np.float32)

    @pytest.mark.parametrize("weight", [0.0, 20.0], ids=["plain", "shrunk"])
    def test_a_symbol_as_the_mean_of_its_labels(self, rows, weight):
        """It tells a single label next to nothing (AUC near 0.5), and the whole test's mean."""
        table, label = rows
        names = [*NAMES, "symbol_mean"]
        leaky = np.column_stack([table, self.encoded(label, np.arange(1_000), weight)])
        assert examine_target(leaky, label, names).passed is True, "no other check sees it"
        found = examine_encoding(leaky, label, self.KEY, self.TRAIN, names)
        assert (found.reason, found.figures["columns"]) == ("target_leak", ["symbol_mean"])
        fair = np.column_stack([table, self.encoded(label, self.TRAIN, weight)])
        assert examine_encoding(fair, label, self.KEY, self.TRAIN, names).passed is True
        number = np.column_stack([table, self.KEY.astype(np.float32)])
        assert examine_encoding(number, label, self.KEY, self.TRAIN, names).passed is True


class TestModelTrainedAgain:
    """Wrong after export, and sealed anew with everything that could contradict it."""

    @pytest.fixture(name="trained")
    def trained_fixture(self, train_config, market_catalog):
        config = msgspec.structs.replace(train_config, calibration="platt")
        return config, train(config, market_catalog, {})

    def change(self, folder, **changes):
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=type(small_model().manifest))
        (folder / MANIFEST).write_bytes(encode_manifest(msgspec.structs.replace(manifest, **changes)))

    def test_honest_and_altered(self, trained, market_catalog, tmp_path):
        config, model = trained
        folder = tmp_path / "model"
        publish(model, folder)
        assert examine_learned(folder, config, market_catalog).reason == "stands"
        manifest = model.manifest
        swapped = [manifest.features[1], manifest.features[0], *manifest.features[2:]]
        wrong = msgspec.structs.replace(manifest.calibration, slope=manifest.calibration.slope * 1.5)
        self.change(folder, threshold=manifest.threshold * 0.9, calibration=wrong, features=swapped)
        found = examine_learned(folder, config, market_catalog)
        assert found.reason == "not_reproduced"
        assert found.figures["differs"] == ["features", "threshold", "calibration"]
        answers = {d.reason.value for d in examine_model(folder)}
        assert "export_differs" in answers, "the features' order is seen without training"
        other = msgspec.structs.replace(config, calibration="none")
        assert examine_learned(folder, other, market_catalog).reason == "unavailable", "another configuration"
