"""What stands before the service, and what it makes of a request: nothing outside the roots, every mistake named."""

import json

import msgspec
import pytest

from research.service.__main__ import main
from research.service.guard import Limiter
from research.service.request import RequestError, Roots, parse
from strategies.errors import ConfigError
from tests.research.service.conftest import NAMED, PARAMS


@pytest.fixture(name="roots")
def roots_fixture(tmp_path, catalogs):
    for name in ("config/strategies", "strategies", "models", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "config/named.yaml").write_text(NAMED)
    (tmp_path / "config/strategies/vote.yaml").write_text(PARAMS)
    (tmp_path / "strategies/vote.yaml").write_text(PARAMS)
    (tmp_path / "outside/secret.yaml").write_text(PARAMS)
    (tmp_path / "strategies/link.yaml").symlink_to(tmp_path / "outside/secret.yaml")
    (tmp_path / "config/away").symlink_to(tmp_path / "outside")
    return Roots(tmp_path / "config", tmp_path / "strategies", catalogs, tmp_path / "models")


CONFIG = {
    "symbols": ["XRPUSDT"], "catalog": "market", "strategy": {"file": "vote.yaml", "history_bars": 100},
    "backtest": {"start": "2025-05-10", "end": "2025-05-14"},
}  # fmt: skip


def ask(roots, **body):
    return parse(json.dumps(body).encode(), roots)


def changed(**changes):
    return json.loads(json.dumps(CONFIG)) | changes


class TestRequests:
    def test_a_whole_configuration(self, roots):
        config = ask(roots, config=CONFIG)
        assert config.catalog == str((roots.catalogs / "market").resolve())
        assert config.strategy.file == str((roots.strategies / "vote.yaml").resolve())

    def test_a_named_one_with_overrides(self, roots):
        config = ask(roots, name="named", overrides={"backtest": {"balance": 500}})
        assert (config.backtest.balance, config.backtest.slippage_bps) == (500, 1)
        assert config.strategy.file == str((roots.configs / "strategies/vote.yaml").resolve())
        other = ask(roots, name="named", overrides={"strategy": {"file": "vote.yaml"}})
        assert other.strategy.file == str((roots.strategies / "vote.yaml").resolve())

    def test_what_only_a_live_node_is_told_is_dropped(self, roots):
        config = ask(roots, config=changed(journal="sqlite:////etc/x", exchange={"api_key_env": "HOME"}))
        assert config.journal == "sqlite:///var/journal.sqlite"
        assert config.exchange.api_key_env == "BINANCE_API_KEY"

    @pytest.mark.parametrize(
        "name",
        ["../market", "/etc", "market/../../x", "..", ".", "", "market\0", "a/../../../../etc/passwd", "~root"],
    )
    def test_no_catalog_outside(self, roots, name):
        with pytest.raises(RequestError) as refused:
            ask(roots, config=changed(catalog=name))
        assert refused.value.field == "catalog"

    @pytest.mark.parametrize(
        "name", ["../outside/secret.yaml", "link.yaml", "/etc/passwd", "..%2foutside%2fsecret.yaml"]
    )
    def test_no_strategy_file_outside(self, roots, name):
        with pytest.raises(RequestError) as refused:
            ask(roots, config=changed(strategy={"file": name}))
        assert refused.value.field == "strategy.file"
        assert "signal_threshold" not in str(refused.value)

    @pytest.mark.parametrize("name", ["../outside/secret", "away/secret", "..", "/etc/passwd", "named.yaml/../x", ""])
    def test_no_configuration_outside(self, roots, name):
        with pytest.raises(RequestError) as refused:
            ask(roots, name=name)
        assert refused.value.field == "name"

    def test_no_model_outside(self, roots):
        with pytest.raises(RequestError) as refused:
            ask(roots, config=changed(gate={"mode": "enforce", "model_dir": "../outside"}))
        assert refused.value.field == "gate.model_dir"

    @pytest.mark.parametrize(
        ("change", "field", "words"),
        [
            ({"symbols": ["XRPUSDT", "XRPUSDT"]}, "config", "twice"),
            ({"symbols": ["DOGEUSDT"]}, "symbols", "no figures"),
            ({"symbolz": 1}, "config.symbolz", "did you mean"),
            ({"risk": {"limits": {"max_position": 3}}}, "config.risk.limits.max_position", "did you mean"),
            ({"backtest": {"balance": "much"}}, "config.backtest.balance", "expected"),
            ({"backtest": {"start": "yesterday"}}, "backtest.start", "not a date"),
            ({"backtest": {"start": "2031-01-01"}}, "backtest", "nothing to run"),
            ({"strategy": {"file": "vote.yaml", "name": "composit"}}, "strategy.name", "unknown"),
            ({"strategy": {"file": "none.yaml"}}, "strategy.file", "no such file"),
            ({"catalog": "none"}, "catalog", "no such catalog"),
        ],
    )
    def test_the_field_at_fault_is_named(self, roots, change, field, words):
        with pytest.raises(RequestError) as refused:
            ask(roots, config=changed(**change))
        assert refused.value.field.startswith(field) or (field == "config" and not refused.value.field)
        assert words in refused.value.message
        assert str(roots.configs.parent) not in str(refused.value)

    @pytest.mark.parametrize(
        "body", [{}, {"config": CONFIG, "name": "named"}, {"config": CONFIG, "overrides": {"a": 1}}]
    )
    def test_one_or_the_other(self, roots, body):
        with pytest.raises(RequestError):
            ask(roots, **body)

    def test_unknown_keys(self, roots):
        with pytest.raises(RequestError) as refused:
            ask(roots, conf=1)
        assert refused.value.field == "conf"
        with pytest.raises(RequestError):
            parse(b"[]", roots)
        with pytest.raises(msgspec.DecodeError):
            parse(b"{", roots)


class TestLimiter:
    def test_a_minutes_worth_at_once_and_then_evenly(self):
        now = [0.0]
        limiter = Limiter(60, lambda: now[0])
        assert [limiter.wait("a") for _ in range(60)] == [0.0] * 60
        assert limiter.wait("a") == pytest.approx(1.0)
        assert limiter.wait("b") == 0.0
        now[0] = 1.01
        assert limiter.wait("a") == 0.0
        assert limiter.wait("a") > 0.9

    def test_memory_is_bounded(self):
        limiter = Limiter(60)
        for i in range(11_000):
            limiter.wait(str(i))
        assert len(limiter._buckets) == 10_000


class TestStart:
    @pytest.mark.parametrize("token", [None, "", "short", "with a space in the middle", "ünïcode-ünïcode-ünïcode"])
    def test_no_service_without_a_token(self, monkeypatch, token):
        monkeypatch.delenv("ARGONAUT_SERVICE_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("ARGONAUT_SERVICE_TOKEN", token)
        with pytest.raises(ConfigError, match="ARGONAUT_SERVICE_TOKEN"):
            main(["--port", "0"])

    @pytest.mark.parametrize(
        "option", [("--workers", "999"), ("--rate", "0"), ("--port", "70000"), ("--configs", "/none")]
    )
    def test_options(self, monkeypatch, option):
        monkeypatch.setenv("ARGONAUT_SERVICE_TOKEN", "x" * 24)
        with pytest.raises(ConfigError, match=option[0]):
            main(list(option))
