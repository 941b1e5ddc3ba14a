"""Vote parameters from YAML: defaults, overrides, and one clear line for every mistake."""

from pathlib import Path

import pytest

from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params, load_params_file, params_dict

SHIPPED = Path(__file__).parents[2] / "config" / "strategies"


def _write(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_top_level_keys_and_params_mapping_mean_the_same(tmp_path):
    flat = load_params(_write(tmp_path, "signal_threshold: 2\nstop_atr: 2\n"), "XRPUSDT")
    nested = load_params(_write(tmp_path, "params: {signal_threshold: 2, stop_atr: 2.0}\n"), "XRPUSDT")
    assert flat == nested == CompositeParams(signal_threshold=2, stop_atr=2.0)


@pytest.mark.parametrize(
    "text", ["", "params:\n", "params: {}\nper_symbol: {}\n", "per_symbol:\n", "per_symbol: {XRPUSDT: }\n"]
)
def test_nothing_said_is_the_production_set(tmp_path, text):
    assert load_params(_write(tmp_path, text), "XRPUSDT") == CompositeParams()


def test_overrides_are_laid_over_params_key_by_key(tmp_path):
    path = _write(tmp_path, "params: {stop_atr: 2.0, adx_threshold: 20}\nper_symbol: {XRPUSDT: {stop_atr: 1.0}}\n")
    assert load_params(path, "XRPUSDT") == CompositeParams(stop_atr=1.0, adx_threshold=20.0)
    assert load_params(path, "ETHUSDT") == CompositeParams(stop_atr=2.0, adx_threshold=20.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("signal_treshold: 3", r"signal_treshold: unknown key \(did you mean `signal_threshold`\?\)"),
        ("params: {stop_art: 3}", "params: stop_art: unknown key"),
        ("per_symbol: {XRPUSDT: {adx: 3}}", r"per_symbol.XRPUSDT: adx: unknown key"),
        ("params: {}\nper_simbol: {}", r"per_simbol: unknown key \(did you mean `per_symbol`\?\)"),
        ("params: {stop_atr: 0}", "stop_atr: expected `float` > 0"),
        ("params: {stop_atr: .inf}", "stop_atr must be a finite number"),
        ("params: {adx_threshold: .nan}", "adx_threshold: expected `float` >= 0"),
        ("params: {signal_threshold: 2.5}", "signal_threshold: expected `int`"),
        ("params: {signal_threshold: 7}", "signal_threshold: expected `int` <= 6"),
        ("params: [1]", "params: expected `object"),
        ("- 1", "expected a mapping of parameters, found list"),
        ("params: {stop_atr: 1, stop_atr: 2}", "duplicate key 'stop_atr'"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path, text, message):
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as raised:
        load_params(path, "ETHUSDT")
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_params(tmp_path / "none.yaml", "XRPUSDT")


def test_the_shipped_files_load_and_composite_is_the_production_set():
    assert load_params(SHIPPED / "composite.yaml", "XRPUSDT") == CompositeParams()
    for path in SHIPPED.glob("composite*.yaml"):
        assert load_params_file(path).params.stop_atr > 0


def test_parameters_as_plain_data():
    assert params_dict(CompositeParams()) == {
        "signal_threshold": 3,
        "adx_threshold": 25.0,
        "volume_multiplier": 2.5,
        "stop_atr": 1.5,
        "target_atr": 4.0,
    }
