"""A node with an Ed25519 key: REST signatures, logon to the WebSocket API, user stream, trades; keys from files."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from node.binance.credentials import key_type, secret_from
from node.config import load_config
from node.control.run_directory import RunDirectory
from node.doctor.machine import machine_findings
from strategies.errors import ConfigError
from tests.node.environments.test_environments import protected, urls_of


def _pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


async def test_a_node_logs_on_with_an_ed25519_key_and_trades(rig: Any) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    file = rig.directory / "key.pem"
    file.write_text(_pem(key))
    # The venue knows no HMAC secret of this key: whatever is not signed with Ed25519 is refused.
    exchange = await rig.exchange(api_key="mine", api_secret="", api_public_key=public)
    config = rig.configure("testnet", urls_of(exchange))
    node = await rig.node(config, BINANCE_API_KEY="mine", BINANCE_API_SECRET=str(file))
    await rig.warm(node)
    await rig.step_until(exchange, protected)
    await rig.settled(exchange)
    async with aiohttp.ClientSession() as http, http.get(f"{exchange.urls['control']}/log") as answer:
        log = json.loads(await answer.read())
    asked = [e.get("endpoint", "") for e in log]
    assert "WS session.logon" in asked
    assert "WS userDataStream.start" in asked
    assert "POST /fapi/v1/listenKey" not in asked
    await exchange.control("drop_user_stream")  # and again after a gap
    await rig.incident("USER_STREAM_GAP")
    summary = await rig.stop(node)
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    secret = "".join(_pem(key).splitlines()[1:-1])
    for written in [*rig.directory.rglob("*.log"), *rig.directory.rglob("*.json*"), *rig.directory.rglob("*.sqlite*")]:
        assert secret.encode() not in written.read_bytes(), written


@pytest.mark.parametrize("form", ["file", "inline", "one line", "base64"])
def test_a_key_may_be_given_in_four_ways(tmp_path: Path, form: str) -> None:
    pem = _pem(Ed25519PrivateKey.generate())
    file = tmp_path / "key.pem"
    file.write_text(pem)
    value = {
        "file": str(file),
        "inline": pem,
        "one line": pem.replace("\n", "\\n"),
        "base64": "".join(pem.splitlines()[1:-1]),
    }[form]
    secret = secret_from({"S": value}, "S")
    assert key_type(secret) == "Ed25519"
    assert "".join(line for line in secret.splitlines() if "-----" not in line) == "".join(pem.splitlines()[1:-1])
    assert key_type(secret_from({"S": "aB3" * 21 + "x"}, "S")) == "HMAC"
    assert secret_from({}, "S") == ""


def test_an_unusable_key_file_is_one_line_without_its_content(tmp_path: Path) -> None:
    other = tmp_path / "rsa.pem"
    pem = _pem(generate_private_key(public_exponent=65537, key_size=2048))
    other.write_text(pem)
    (tmp_path / "empty.pem").write_text("\n")
    for value, told in (
        (str(tmp_path / "no.pem"), "cannot be read: No such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(tmp_path / "empty.pem"), "is empty"),
        (str(other), "not an unencrypted Ed25519"),
        (pem, "not an unencrypted Ed25519"),
    ):
        with pytest.raises(ConfigError, match=told) as error:
            secret_from({"S": value}, "S")
        assert pem.splitlines()[3] not in str(error.value)


@pytest.mark.parametrize("kind", ["Ed25519", "HMAC"])
async def test_doctor_says_what_kind_of_key_it_is(rig_config: Any, tmp_path: Path, kind: str) -> None:
    config = load_config(rig_config("testnet"))
    secret = _pem(Ed25519PrivateKey.generate()) if kind == "Ed25519" else "secret"
    environ = {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": secret}
    found = await machine_findings(config, environ, RunDirectory(tmp_path / "run"), simulated=False)
    (keys,) = [f for f in found if f.check == "keys"]
    assert f"key type {kind}" in keys.message
