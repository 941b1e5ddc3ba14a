"""The examination, on a small exchange whose answers a test may spoil; and the gate before real money."""

import io
import json
import time
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from node.cli import main
from node.config import load_config
from node.control.access import run_directory
from node.doctor.command import run_doctor
from node.doctor.gate import VALID_NS, Stamp, config_hash, key_mark, require_clearance
from research.testing import promoted, small_model
from research.training import publish
from strategies.errors import ConfigError

KEYS = {"BINANCE_API_KEY": "k" * 64, "BINANCE_API_SECRET": "s" * 64}
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
RIGHTS = {
    "ipRestrict": True, "enableWithdrawals": False, "enableFutures": True, "enableInternalTransfer": False,
    "permitsUniversalTransfer": False,
}  # fmt: skip


class Exchange:
    """Answers by path; every request is counted, and the signature of signed ones demanded."""

    def __init__(self):
        self.url = ""
        self.skew_ms = 0
        self.weight = 100
        self.refuse = {}
        self.answers = {
            "/fapi/v1/positionSide/dual": {"dualSidePosition": False},
            "/fapi/v1/exchangeInfo": {
                "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "limit": 2400}],
                "symbols": [{"symbol": s, "status": "TRADING"} for s in SYMBOLS],
            },
            "/fapi/v1/symbolConfig": [{"symbol": s, "marginType": "ISOLATED", "leverage": 10} for s in SYMBOLS],
            "/fapi/v1/accountConfig": {"canTrade": True, "multiAssetsMargin": False},
            "/fapi/v3/positionRisk": [],
            "/fapi/v1/openOrders": [],
            "/fapi/v1/openAlgoOrders": [],
            "/sapi/v1/account/apiRestrictions": dict(RIGHTS),
        }

    async def serve(self, request):
        path = request.path
        if path == "/fapi/v1/time":
            return web.json_response({"serverTime": time.time_ns() // 1_000_000 + self.skew_ms})
        if path in self.refuse:
            status, code, text = self.refuse[path]
            return web.json_response({"code": code, "msg": text}, status=status)
        answer = self.answers[path]
        if "symbol" in request.query and isinstance(answer, list):
            answer = [row for row in answer if row["symbol"] == request.query["symbol"]]
        return web.json_response(answer, headers={"X-MBX-USED-WEIGHT-1M": str(self.weight)})


@pytest.fixture(name="exchange")
async def exchange_fixture():
    exchange = Exchange()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    exchange.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield exchange
    await runner.cleanup()


@pytest.fixture(name="config")
def config_fixture(write_config, tmp_path):
    journal = f"journal: sqlite:///{tmp_path}/journal.sqlite\nenvironment: live\ninterval"
    return load_config(write_config(("interval", journal)))


@pytest.fixture(name="examine")
def examine_fixture(exchange, config):
    """Return a function that examines and returns (exit code, findings by check)."""

    async def examine(environ=KEYS, config=config):
        out = io.StringIO()
        code = await run_doctor(
            config, environ, venue_url=exchange.url, run_dir=None, as_json=True, out=out, spot_url=exchange.url
        )
        found = json.loads(out.getvalue())
        assert found["passed"] is (code == 0)
        findings = {}
        for finding in found["findings"]:
            findings.setdefault(finding["check"], []).append((finding["severity"], finding["message"]))
            assert finding["severity"] == "ok" or finding["remedy"]
        return code, findings

    return examine


async def test_a_sound_account_passes_and_every_check_is_there(examine):
    code, findings = await examine()
    assert code == 0
    assert set(findings) == {
        "clock", "position_mode", "symbols", "leverage", "key_permissions", "ip_restriction", "account", "margin_type",
        "positions", "orders", "weight", "keys", "watchdog_key", "catalog", "model", "journal", "run_directory", "disk",
        "redis", "alerts",
    }  # fmt: skip
    bad = {name: f for name, rows in findings.items() for f in rows if f[0] != "ok"}
    assert set(bad) == {"alerts", "watchdog_key"}
    assert findings["key_permissions"] == [("ok", "futures yes, withdrawals no, transfers no")]


def position(symbol, amount):
    return {"symbol": symbol, "positionAmt": amount, "positionSide": "BOTH"}


def algo(symbol, quantity, *, side="SELL", client_id="CMPXRP-x-S0", **changes):
    row = {
        "symbol": symbol, "side": side, "orderType": "STOP_MARKET", "quantity": quantity, "clientAlgoId": client_id,
        "reduceOnly": True, "closePosition": False,
    }  # fmt: skip
    return row | changes


LIMIT = {
    "symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "origQty": "5", "clientOrderId": "web_1", "reduceOnly": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "answer", "check", "severity", "words"),
    [
        (
            "/sapi/v1/account/apiRestrictions",
            RIGHTS | {"enableWithdrawals": True},
            "key_permissions",
            "fail",
            "withdraw",
        ),
        ("/sapi/v1/account/apiRestrictions", {}, "key_permissions", "fail", "withdraw"),
        ("/sapi/v1/account/apiRestrictions", RIGHTS | {"enableFutures": False}, "key_permissions", "fail", "futures"),
        (
            "/sapi/v1/account/apiRestrictions",
            RIGHTS | {"permitsUniversalTransfer": True},
            "key_permissions",
            "warn",
            "Transfer",
        ),
        ("/sapi/v1/account/apiRestrictions", RIGHTS | {"ipRestrict": False}, "ip_restriction", "warn", "any address"),
        ("/fapi/v1/positionSide/dual", {"dualSidePosition": True}, "position_mode", "fail", "hedge"),
        ("/fapi/v1/accountConfig", {"canTrade": False}, "account", "fail", "may not trade"),
        ("/fapi/v1/accountConfig", {"canTrade": True, "multiAssetsMargin": True}, "account", "fail", "multi-asset"),
        ("/fapi/v1/accountConfig", {}, "account", "fail", "unexpected answer"),
        ("/fapi/v1/symbolConfig", [], "margin_type", "fail", "XRPUSDT: unknown"),
        ("/fapi/v3/positionRisk", [position("DOGEUSDT", "3")], "positions", "warn", "not traded by this node"),
        ("/fapi/v3/positionRisk", [position("XRPUSDT", "3")], "positions", "warn", "3 without a stop"),
        ("/fapi/v1/openOrders", [LIMIT], "orders", "warn", "can open a position"),
        ("/fapi/v1/openAlgoOrders", [algo("DOGEUSDT", "1", client_id="x")], "orders", "warn", "is not this node's"),
        ("/fapi/v1/openAlgoOrders", [algo("XRPUSDT", "1", client_id="CMPXRP-1-S0")], "orders", "ok", "none but"),
    ],
)
async def test_what_is_wrong_with_the_account_is_found(exchange, examine, path, answer, check, severity, words):
    exchange.answers[path] = answer
    code, findings = await examine()
    assert code == (1 if severity == "fail" else 0)
    assert any(s == severity and words in text for s, text in findings[check]), findings[check]


@pytest.mark.parametrize(
    ("rows", "severity", "words"),
    [
        ([algo("XRPUSDT", "3")], "ok", "protected"),
        ([algo("XRPUSDT", "1"), algo("XRPUSDT", "2")], "ok", "protected"),
        ([algo("XRPUSDT", "0", closePosition=True, reduceOnly=False)], "ok", "protected"),
        ([algo("XRPUSDT", "2")], "warn", "1 without a stop"),
        ([algo("XRPUSDT", "3", side="BUY")], "warn", "3 without a stop"),
        ([algo("XRPUSDT", "3", orderType="TAKE_PROFIT_MARKET")], "warn", "3 without a stop"),
        ([algo("XRPUSDT", "3", reduceOnly=False)], "warn", "3 without a stop"),
        ([algo("BTCUSDT", "3")], "warn", "3 without a stop"),
    ],
)
async def test_what_counts_as_a_stop(exchange, examine, rows, severity, words):
    exchange.answers["/fapi/v3/positionRisk"] = [position("XRPUSDT", "3")]
    exchange.answers["/fapi/v1/openAlgoOrders"] = rows
    ((found, text),) = (await examine())[1]["positions"]
    assert found == severity
    assert words in text


@pytest.mark.parametrize(("skew", "severity"), [(0, "ok"), (600, "warn"), (-3000, "fail")])
async def test_clock(exchange, examine, skew, severity):
    exchange.skew_ms = skew
    code, findings = await examine()
    assert findings["clock"][0][0] == severity
    assert code == (severity == "fail")


@pytest.mark.parametrize(("weight", "severity"), [(100, "ok"), (1300, "warn"), (2300, "fail")])
async def test_weight(exchange, examine, weight, severity):
    exchange.weight = weight
    assert (await examine())[1]["weight"][0][0] == severity


async def test_a_key_that_is_refused_fails_and_is_not_shown(exchange, examine):
    for path in [p for p in exchange.answers if p != "/fapi/v1/exchangeInfo"]:
        exchange.refuse[path] = (401, -2015, "Invalid API-key, IP, or permissions for action.")
    code, findings = await examine()
    assert code == 1
    assert [s for s, _ in findings["key_permissions"]] == ["fail"]
    text = json.dumps(findings)
    assert KEYS["BINANCE_API_KEY"] not in text
    assert KEYS["BINANCE_API_SECRET"] not in text


async def test_missing_keys_fail_and_everything_else_is_still_examined(examine):
    code, findings = await examine(environ={})
    assert code == 1
    assert findings["keys"][0][0] == "fail"
    assert "BINANCE_API_KEY and BINANCE_API_SECRET" in findings["venue"][0][1]
    assert findings["journal"][0][0] == "ok"


async def test_files_and_services_that_are_wrong(examine, config, tmp_path):
    changed = msgspec.structs.replace(
        config,
        catalog=str(tmp_path / "nothing"),
        journal="sqlite:////proc/journal.sqlite",
        gate=msgspec.structs.replace(config.gate, mode="enforce", model_dir=str(tmp_path / "no-model")),
        operate=msgspec.structs.replace(config.operate, run_dir=str(tmp_path / "run")),
    )
    code, findings = await examine(config=changed)
    assert code == 1
    assert {n: rows[0][0] for n, rows in findings.items() if n in ("catalog", "journal", "model")} == {
        "catalog": "warn", "journal": "fail", "model": "fail",
    }  # fmt: skip


# -- the gate ---------------------------------------------------------------------------------------------------------


async def test_real_money_needs_a_passed_fresh_examination_of_this_configuration_and_a_confirmation(
    examine, exchange, config
):
    confirmed = KEYS | {"CONFIRM_LIVE": "YES"}
    now = time.time_ns()

    def refusal(config=config, environ=confirmed, now=now):
        with pytest.raises(ConfigError) as refused:
            require_clearance(config, environ, now)
        text = str(refused.value)
        assert text.startswith("environment: live: ")
        return text

    assert "not examined yet" in refusal()
    exchange.answers["/fapi/v1/accountConfig"] = {"canTrade": False}
    assert (await examine())[0] == 1
    assert "the examination failed" in refusal(now=time.time_ns())
    exchange.answers["/fapi/v1/accountConfig"] = {"canTrade": True}
    assert (await examine())[0] == 0
    now = time.time_ns()
    require_clearance(config, confirmed, now)
    require_clearance(config, confirmed, now + VALID_NS - 10**9)

    assert "older than 24 hours" in refusal(now=now + VALID_NS + 10**9)
    assert "from the future" in refusal(now=now - 3_600 * 10**9)
    for environ in (KEYS, KEYS | {"CONFIRM_LIVE": "yes"}, KEYS | {"CONFIRM_LIVE": ""}):
        assert "set CONFIRM_LIVE=YES" in refusal(environ=environ, now=now)
    assert "not the key examined" in refusal(environ=confirmed | {"BINANCE_API_KEY": "another"}, now=now)
    riskier = msgspec.structs.replace(config, exchange=msgspec.structs.replace(config.exchange, leverage=50))
    assert "changed since" in refusal(config=riskier, now=now)
    strategy = Path(config.strategy.file)
    strategy.write_text("params: {signal_threshold: 3}\n")  # noqa: ASYNC240 - one line, nobody waits
    assert "changed since" in refusal(now=now)
    path = run_directory(config).doctor
    path.write_text("{")
    assert "cannot be read" in refusal(now=now)


async def test_real_money_behind_an_enforcing_gate_needs_a_promoted_model(examine, config, tmp_path):
    folder = tmp_path / "model"
    model, key = promoted(small_model())

    async def state(promotion_key=key, mode="enforce", model=model):
        publish(model, folder)
        gate = msgspec.structs.replace(config.gate, mode=mode, model_dir=str(folder), promotion_key=promotion_key)
        changed = msgspec.structs.replace(config, gate=gate)
        code, findings = await examine(config=changed)
        return changed, code, {n: rows[0] for n, rows in findings.items() if n in ("model", "promotion")}

    confirmed = KEYS | {"CONFIRM_LIVE": "YES"}
    good, code, found = await state()
    assert (code, found["promotion"][0]) == (0, "ok")
    require_clearance(good, confirmed, time.time_ns())
    (folder / "promotion.json").unlink()
    with pytest.raises(ConfigError, match="changed since"):
        require_clearance(good, confirmed, time.time_ns())

    plain = small_model()
    expired = small_model(valid_until_ns=10**18)
    for options, check, text in (
        ({"model": plain}, "promotion", "unpromoted"),
        ({"promotion_key": ""}, "promotion", "promotion_key_not_configured"),
        ({"promotion_key": "ab" * 32}, "promotion", "promotion_by_another_key"),
        ({"model": expired}, "model", "expired"),
    ):
        changed, code, found = await state(**options)
        assert (code, found[check][0]) == (1, "fail"), options
        assert text in found[check][1]
        # A stamp that says otherwise does not help: the start looks for itself.
        path = run_directory(changed).doctor
        stamp = msgspec.json.decode(path.read_bytes(), type=Stamp)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(stamp, passed=True)))
        with pytest.raises(ConfigError, match=text):
            require_clearance(changed, confirmed, time.time_ns())
    changed, code, found = await state(model=plain, mode="shadow")
    assert (code, found["promotion"][0]) == (0, "warn")
    require_clearance(changed, confirmed, time.time_ns())


@pytest.mark.parametrize("environment", ["venue", "testnet", "demo"])
def test_other_environments_need_none(config, environment):
    require_clearance(msgspec.structs.replace(config, environment=environment), {}, 0)


def test_the_stamp_gives_no_key_away(config):
    stamp = Stamp(passed=True, config_hash=config_hash(config), time=0, key=key_mark(KEYS["BINANCE_API_KEY"]))
    assert KEYS["BINANCE_API_KEY"][:8] not in msgspec.json.encode(stamp).decode()
    assert key_mark("a") != key_mark("b")


def test_another_venue_cannot_be_examined_in_the_place_of_the_exchange(write_config, tmp_path):
    path = write_config(("interval", f"journal: sqlite:///{tmp_path}/journal.sqlite\nenvironment: live\ninterval"))
    with pytest.raises(ConfigError, match="the exchange itself is examined"):
        main(["doctor", "--config", str(path), "--venue-url", "http://127.0.0.1:1"])
