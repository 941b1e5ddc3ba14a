"""The running service: from a request to a result, and through kills."""

import json
import os
import signal
import socket

import httpx
import pytest

import trials
from node.backtest_run import run_backtest
from node.config import load_config
from node.report import result_to_plain
from tests.research.service.conftest import TOKEN, eventually

LONG = {
    "name": "named",
    "overrides": {"symbols": ["XRPUSDT", "ETHUSDT"], "backtest": {"start": "2025-04-05", "end": "2025-06-08"}},
}


def test_from_request_to_result(make_service, url, catalogs):
    service = make_service(url).start()
    identity = service.submit()
    assert service.client.get(f"/backtests/{identity}/result").status_code in (409, 200)
    found = service.until(identity, "done", "failed")
    assert (found["state"], found["error"], found["progress"], found["attempt"]) == ("done", None, 1.0, 1)
    result = service.client.get(f"/backtests/{identity}/result").json()

    config = service.folder / "config/named.yaml"
    config.write_text(config.read_text().replace("var/market", str(catalogs / "market")))
    plain = json.loads(json.dumps(result_to_plain(run_backtest(load_config(config), log_level="OFF"))))
    for name in ("statistics", "daily_equity", "data_hash", "verdicts", "bars"):
        assert result[name] == plain[name]
    facts = [{k: v for k, v in t.items() if k != "wall_time"} for t in result["trades"]]
    assert facts == [{k: v for k, v in t.items() if k != "wall_time"} for t in plain["trades"]]

    (entry,) = trials.read(service.ledger)
    assert (entry.kind, entry.digest, entry.data_hash) == ("backtest", found["trial"], result["data_hash"])
    listed = service.client.get("/backtests", params={"state": "done", "limit": 5}).json()["jobs"]
    assert [j["id"] for j in listed] == [identity]
    assert service.client.post(f"/backtests/{identity}/cancel").status_code == 409


class TestKills:
    def test_a_killed_worker_loses_no_job_and_none_ends_twice(self, make_service, tmp_path):
        service = make_service(f"sqlite:///{tmp_path}/j.sqlite").start()
        identity = service.submit(**LONG)
        service.until(identity, "running")
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        found = service.until(identity, "done", "failed")
        assert (found["state"], found["attempt"]) == ("done", 2)
        assert len(trials.read(service.ledger)) == 1

    @pytest.mark.soak
    def test_a_killed_service_goes_on_where_it_was(self, make_service, tmp_path):
        service = make_service(f"sqlite:///{tmp_path}/j.sqlite").start()
        done = service.submit()
        service.until(done, "done")
        running, waiting = service.submit(**LONG), service.submit()
        service.until(running, "running")
        workers = service.workers()
        service.stop(signal.SIGKILL)
        eventually(lambda: not any(os.path.exists(f"/proc/{w}") for w in workers))  # noqa: PTH110
        service.start()
        assert service.state(done)["state"] == "done"
        assert service.client.post(f"/backtests/{running}/cancel").status_code in (200, 202)
        assert service.until(running, "cancelled")["state"] == "cancelled"
        assert service.until(waiting, "done", "failed")["state"] == "done"

    def test_a_running_job_is_cancelled(self, make_service, tmp_path):
        service = make_service(f"sqlite:///{tmp_path}/j.sqlite").start()
        identity = service.submit(**LONG)
        service.until(identity, "running")
        assert service.client.post(f"/backtests/{identity}/cancel").status_code == 202
        service.until(identity, "cancelled")
        assert service.client.get(f"/backtests/{identity}/result").status_code == 409


@pytest.fixture(name="quiet", scope="module")
def quiet_fixture(tmp_path_factory, market_catalog):
    """Return a service without workers, for what is answered at once."""
    from tests.research.service.conftest import Service

    folder = tmp_path_factory.mktemp("quiet")
    (folder / "catalogs").mkdir()
    (folder / "catalogs/market").symlink_to(market_catalog)
    service = Service(folder, market_catalog.parent, f"sqlite:///{folder}/j.sqlite")
    service.start("--rate", "100000", "--most-waiting", "2", workers=0)
    yield service
    service.stop()


class TestAnswers:
    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
    )
    def test_without_the_token_nothing_is_said(self, quiet, header):
        headers = {} if header is None else {"Authorization": header}
        with httpx.Client(base_url=quiet.address, trust_env=False) as client:
            for method, path in (("GET", "/backtests"), ("POST", "/backtests"), ("GET", "/none"), ("GET", "/docs")):
                answer = client.request(method, path, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert client.get("/health").json() == {"ok": True}

    @pytest.mark.parametrize(
        ("content", "status"),
        [(b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[" * 100_000, 400), (b"[]", 422), (b'{"a":1}', 422),
         (b"x" * 300_000, 413)],
    )  # fmt: skip
    def test_bodies_that_are_none(self, quiet, content, status):
        answer = quiet.client.post("/backtests", content=content)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]

    def test_a_body_without_a_length_is_limited_too(self, quiet):
        def parts():
            for _ in range(100):
                yield b"x" * 10_000

        try:
            status = quiet.client.post("/backtests", content=parts()).status_code
        except httpx.WriteError:
            status = 413  # it hung up while we were still sending
        assert status == 413

    def test_a_length_that_is_none(self, quiet):
        host, port = quiet.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(
                f"POST /backtests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                "Content-Length: 99999999999\r\n\r\n".encode()
            )
            assert raw.recv(1_000).startswith(b"HTTP/1.1 413")

    def test_the_field_is_named(self, quiet):
        answer = quiet.client.post("/backtests", json={"name": "named", "overrides": {"backtest": {"balanse": 1}}})
        assert answer.status_code == 422
        assert answer.json()["field"] == "overrides.backtest.balanse"
        assert "did you mean `balance`" in answer.json()["error"]

    @pytest.mark.parametrize("name", ["nothing", "0" * 32, "..%2f..%2fetc", "A" * 32, "%00" * 32, "é" * 32])
    def test_no_such_job(self, quiet, name):
        for path in (f"/backtests/{name}", f"/backtests/{name}/result"):
            assert quiet.client.get(path).status_code == 404
        assert quiet.client.post(f"/backtests/{name}/cancel").status_code == 404

    @pytest.mark.parametrize("query", ["state=none", "limit=0", "limit=x", "limit=²", "before=-1", "limit=99999"])
    def test_query_mistakes_are_named(self, quiet, query):
        answer = quiet.client.get(f"/backtests?{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, query.split("=")[0])

    def test_other_methods_and_paths(self, quiet):
        assert quiet.client.delete("/backtests").status_code == 405
        assert quiet.client.get("/nothing").status_code == 404


def test_too_many_requests_and_a_full_queue(make_service, tmp_path):
    service = make_service(f"sqlite:///{tmp_path}/j.sqlite").start("--rate", "6", "--most-waiting", "2", workers=0)
    assert service.submit()
    assert service.submit()
    full = service.client.post("/backtests", json={"name": "named"})
    assert (full.status_code, full.headers["retry-after"]) == (429, "30")
    answers = [service.client.get("/backtests") for _ in range(5)]
    assert [a.status_code for a in answers[:3]] == [200] * 3
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
