"""Where the sample comes from, the public archive's client, and that sources never mix."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catalog import archive, sample_sources, store, writer
from catalog.csv_files import FUNDING_COLUMNS, KLINE_COLUMNS
from catalog.instruments import DEFAULT_PATH, bar_type_text
from catalog.reader import coverage, load_bars, load_funding
from catalog.sample import describe, main, prepare
from strategies.errors import DataError

from .conftest import official, rows

WINDOW = ("2025-03-05T00:00:00Z", "2025-03-07T00:00:00Z")
DAY_BARS = 96
EVERY = ("BTCUSDT", "XRPUSDT")


def text(table: list[list[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in table)


def bar_table(symbol: str, count: int = 4 * DAY_BARS) -> list[list[str]]:
    table = rows(count, seed=len(symbol) + symbol.startswith("B"))
    if symbol == "BTCUSDT":  # its tick is 0.1 and its step 0.001
        table = [[r[0], *(f"{float(v) * 10_000:.1f}" for v in r[1:5]), f"{float(r[5]) / 1000:.3f}"] for r in table]
    return table


def funding_table() -> list[list[str]]:
    return [[str(1_741_104_000_000 + i * 28_800_000), "8", "0.00010000"] for i in range(12)]


def write_folder(folder: Path, symbols: tuple[str, ...] = EVERY) -> Path:
    for kind, make in (("um_klines_15m", bar_table), ("um_funding", lambda _: [[r[0], r[2]] for r in funding_table()])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for symbol in symbols:
            (folder / kind / f"{symbol}.csv.gz").write_bytes(gzip.compress(text(make(symbol)).encode()))
    return folder


def get(catalog: Path, **options: Any) -> Any:
    values = {"symbols": EVERY, "window": WINDOW, "environment": {}, "shared": Path("/nonexistent"), "base_url": CLOSED}
    return prepare(catalog, **{**values, **options})


CLOSED = "http://127.0.0.1:9"
"""Nobody listens on the discard port: refused at once."""


class ArchiveServer:
    """The exchange's archive in miniature, with what it was asked and what it does wrong."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.damage: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/")
                outer.asked.append(path)
                content = outer.files.get(path)
                self.send_response(404 if content is None else 200)
                body = b"" if content is None else content
                if path in outer.damage:
                    body = body[:-1] + b"?"
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(self, path: str, header: tuple[str, ...], table: list[list[str]]) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr(Path(path).stem + ".csv", text([list(header), *table]))
        self.files[path] = buffer.getvalue()
        digest = hashlib.sha256(self.files[path]).hexdigest()
        self.files[f"{path}.CHECKSUM"] = f"{digest}  {Path(path).name}\n".encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    result = ArchiveServer()
    for symbol in EVERY:
        bars = [official(row) for row in bar_table(symbol)]
        result.add(archive.klines_path(symbol, "15m", "2025-03"), KLINE_COLUMNS, bars)
        result.add(archive.funding_path(symbol, "2025-03"), FUNDING_COLUMNS, funding_table())
    yield result
    result.server.shutdown()
    result.server.server_close()


# -- order ----------------------------------------------------------------------------------------


def test_the_variable_comes_first(catalog: Path, tmp_path: Path, server: ArchiveServer) -> None:
    mine, shared = write_folder(tmp_path / "mine"), write_folder(tmp_path / "shared")
    info = get(catalog, environment={"ARGONAUT_DATA": str(mine)}, shared=shared, base_url=server.url)
    assert (info.source, info.synthetic, info.label) == ("env", False, "REAL")
    assert str(mine) in info.description
    assert server.asked == []


def test_then_the_folder_beside_the_repository(catalog: Path, tmp_path: Path, server: ArchiveServer) -> None:
    info = get(catalog, shared=write_folder(tmp_path / "shared"), base_url=server.url)
    assert (info.source, info.notes) == ("shared", ("$ARGONAUT_DATA is not set",))
    assert server.asked == []


def test_then_the_archive(catalog: Path, server: ArchiveServer) -> None:
    info = get(catalog, base_url=server.url)
    assert (info.source, info.synthetic) == ("archive", False)
    assert info.bars == {"BTCUSDT": 2 * DAY_BARS, "XRPUSDT": 2 * DAY_BARS}


def test_then_the_generator_and_it_says_so(catalog: Path) -> None:
    info = get(catalog)
    assert (info.source, info.synthetic, info.label) == ("synthetic", True, "SYNTHETIC")
    assert info.description.startswith("SYNTHETIC")
    assert "did not answer within 3 s" in info.notes[-1]


def test_only_the_window_is_taken(catalog: Path, tmp_path: Path) -> None:
    get(catalog, shared=write_folder(tmp_path))
    first, last, count = coverage(catalog, "XRPUSDT", "15m")
    assert (first, last, count) == (1_741_132_800 * 10**9, (1_741_305_600 - 900) * 10**9, 2 * DAY_BARS)
    funding = load_funding(catalog, "XRPUSDT")
    assert (len(funding), int(funding.time[0])) == (6, 1_741_132_800 * 10**9)


def test_all_sources_of_the_same_market_give_the_same_catalog(tmp_path: Path, server: ArchiveServer) -> None:
    one = get(tmp_path / "a", shared=write_folder(tmp_path / "shared"))
    two = get(tmp_path / "b", base_url=server.url)
    assert (one.source, two.source) == ("shared", "archive")
    assert one.bars_hash == two.bars_hash
    assert one.data_hash == two.data_hash


def test_a_variable_that_names_the_wrong_folder_is_an_error(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\$ARGONAUT_DATA: .*um_klines_15m/BTCUSDT.csv.gz does not exist"):
        get(catalog, environment={"ARGONAUT_DATA": str(tmp_path / "typo")}, shared=write_folder(tmp_path / "shared"))


def test_sources_by_name(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\$ARGONAUT_DATA is not set"):
        get(catalog, source="env")
    with pytest.raises(DataError, match=r"\.\./shared/data: .*does not exist"):
        get(catalog, source="shared")
    with pytest.raises(DataError, match=r"did not answer within 3 s"):
        get(catalog, source="archive")
    with pytest.raises(DataError, match=r"source 'internet' is not known"):
        get(catalog, source="internet")
    assert describe(catalog) is None
    assert get(catalog, source="synthetic", shared=write_folder(tmp_path)).synthetic


def test_a_bad_file_in_a_source_is_an_error_not_a_reason_to_generate(catalog: Path, tmp_path: Path) -> None:
    shared = write_folder(tmp_path / "shared")
    table = bar_table("XRPUSDT")
    table[17][4] = "oops"
    (shared / "um_klines_15m" / "XRPUSDT.csv.gz").write_bytes(gzip.compress(text(table).encode()))
    with pytest.raises(DataError, match=r"XRPUSDT\.csv\.gz:18: close: 'oops'"):
        get(catalog, shared=shared)
    with pytest.raises(DataError, match="interrupted"):
        describe(catalog)
    write_folder(shared)
    assert get(catalog, shared=shared).source == "shared"


# -- idempotent, never mixed ----------------------------------------------------------------------


def mtimes(folder: Path) -> dict[Path, int]:
    return {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file() and not f.name.endswith(".lock")}


@pytest.mark.parametrize("kind", ["shared", "archive", "synthetic"])
def test_twice_is_once(kind: str, catalog: Path, tmp_path: Path, server: ArchiveServer) -> None:
    options = {"shared": write_folder(tmp_path / "shared"), "base_url": server.url, "source": kind}
    first = get(catalog, **options)
    before, asked = mtimes(catalog), len(server.asked)
    assert get(catalog, **options) == first
    assert mtimes(catalog) == before
    assert describe(catalog) == first
    assert all(path.endswith(".CHECKSUM") for path in server.asked[asked:])  # the question whether it is there


def test_auto_keeps_what_is_there_without_asking_the_network(catalog: Path, server: ArchiveServer) -> None:
    generated = get(catalog, source="synthetic")
    assert get(catalog, base_url=server.url) == generated
    assert server.asked == []


def test_real_data_that_appears_replaces_generated_data_whole(catalog: Path, tmp_path: Path) -> None:
    get(catalog)
    info = get(catalog, shared=write_folder(tmp_path / "shared"))
    assert info.source == "shared"
    fresh = get(tmp_path / "fresh", shared=tmp_path / "shared")
    assert (info.bars_hash, info.data_hash) == (fresh.bars_hash, fresh.data_hash)


def test_files_of_the_source_that_change_are_taken_anew(catalog: Path, tmp_path: Path) -> None:
    shared = write_folder(tmp_path / "shared")
    before = get(catalog, shared=shared)
    table = bar_table("XRPUSDT")
    table[0][5] = "1.5"
    (shared / "um_klines_15m" / "XRPUSDT.csv.gz").write_bytes(gzip.compress(text(table).encode()))
    after = get(catalog, shared=shared)
    assert after.bars_hash != before.bars_hash
    assert load_bars(catalog, "XRPUSDT", "15m").volume[0] == 1.5


def test_data_of_other_origin_is_never_removed(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    own = write_csv(rows(50))
    writer.ingest_klines([own], catalog=catalog, symbol="XRPUSDT", interval="15m")
    with pytest.raises(DataError, match=r"holds XRPUSDT 15m bars that did not come with the sample"):
        get(catalog)
    assert coverage(catalog, "XRPUSDT", "15m")[2] == 50


def test_rows_added_to_the_sample_are_never_removed(
    catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    info = get(catalog, source="synthetic")
    later = write_csv(rows(10, start_ms=1_741_305_600_000))
    writer.ingest_klines([later], catalog=catalog, symbol="XRPUSDT", interval="15m")
    assert get(catalog, source="synthetic") == info  # the sample itself is still whole
    with pytest.raises(DataError, match="did not come with the sample"):
        get(catalog, shared=write_folder(tmp_path / "shared"))
    assert coverage(catalog, "XRPUSDT", "15m")[2] == 2 * DAY_BARS + 10


def test_a_sample_that_was_tampered_with_is_not_passed_off_as_itself(
    catalog: Path, write_csv: Callable[..., Path]
) -> None:
    get(catalog, source="synthetic")
    writer.ingest_klines([write_csv(rows(5))], catalog=catalog, symbol="XRPUSDT", interval="15m", replace=True)
    with pytest.raises(DataError, match="did not come with the sample"):
        get(catalog, source="synthetic")


def test_a_sample_whose_files_were_deleted_is_made_again(catalog: Path) -> None:
    info = get(catalog, source="synthetic")
    shutil.rmtree(catalog / "data" / store.FUNDING)
    shutil.rmtree(store.series_path(catalog, store.BARS, bar_type_text("XRPUSDT", "15m")))
    assert get(catalog, source="synthetic") == info
    assert len(load_funding(catalog, "BTCUSDT")) == 6


def test_another_window_or_symbol_rebuilds(catalog: Path) -> None:
    get(catalog, source="synthetic")
    info = get(catalog, source="synthetic", symbols=["ETHUSDT"], window=("2025-03-05", "2025-03-06"))
    assert info.bars == {"ETHUSDT": DAY_BARS}
    with pytest.raises(DataError, match="no 15m bars of XRPUSDT"):
        coverage(catalog, "XRPUSDT", "15m")


def test_a_preparation_that_was_killed_is_noticed_and_repeated(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(catalog, source="synthetic")
    put, calls = writer.ingest_klines, iter(range(9))

    def killed(*args: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return put(*args, **options)

    shared = write_folder(tmp_path / "shared")
    with monkeypatch.context() as patched:
        patched.setattr(sample_sources.writer, "ingest_klines", killed)
        with pytest.raises(KeyboardInterrupt):
            get(catalog, shared=shared)
    with pytest.raises(DataError, match=r"was interrupted: run `python -m catalog\.sample"):
        describe(catalog)
    assert get(catalog, shared=shared).bars_hash == get(tmp_path / "fresh", shared=shared).bars_hash


def test_a_damaged_note_is_an_error(catalog: Path) -> None:
    get(catalog)
    (catalog / "sample.json").write_text("{")
    with pytest.raises(DataError, match=r"sample\.json: damaged"):
        describe(catalog)


# -- archive --------------------------------------------------------------------------------------


def test_months_and_paths() -> None:
    first, last = 1_741_132_800 * 10**9, 1_759_276_800 * 10**9
    assert archive.months(first, last) == [f"2025-{m:02d}" for m in range(3, 10)]
    assert archive.months(1_733_000_000 * 10**9, 1_736_000_000 * 10**9) == ["2024-11", "2024-12", "2025-01"]
    expected = "data/futures/um/monthly/klines/XRPUSDT/15m/XRPUSDT-15m-2025-03.zip"
    assert archive.klines_path("XRPUSDT", "15m", "2025-03") == expected
    expected = "data/futures/um/monthly/fundingRate/XRPUSDT/XRPUSDT-fundingRate-2025-03.zip"
    assert archive.funding_path("XRPUSDT", "2025-03") == expected


def test_a_wrong_checksum_is_refused_and_the_file_not_kept(catalog: Path, server: ArchiveServer) -> None:
    path = archive.klines_path("XRPUSDT", "15m", "2025-03")
    server.damage.add(path)
    with pytest.raises(DataError, match=r"XRPUSDT-15m-2025-03\.zip: the checksum does not match"):
        get(catalog, source="archive", base_url=server.url)
    assert [f.name for f in (catalog / ".archive").iterdir() if "XRPUSDT-15m" in f.name] == []
    assert not (catalog / "data").exists()
    server.damage.clear()
    server.asked.clear()
    assert get(catalog, source="archive", base_url=server.url).source == "archive"
    fetched = [asked for asked in server.asked if asked.endswith(".zip")]
    assert path in fetched
    assert len(fetched) < 4, "whole files are not fetched again"


def test_a_month_the_archive_does_not_have_is_named(catalog: Path, server: ArchiveServer) -> None:
    with pytest.raises(DataError, match=r"-2025-02\.zip\S*: the archive answers 404"):
        get(catalog, source="archive", base_url=server.url, window=("2025-02-27", "2025-03-06"))


def test_an_archive_that_breaks_off_falls_back_to_the_generator_with_a_note(
    catalog: Path, server: ArchiveServer
) -> None:
    server.damage.add(archive.funding_path("XRPUSDT", "2025-03"))
    info = get(catalog, base_url=server.url)
    assert info.synthetic
    assert "checksum does not match" in info.notes[-1]


def test_silence_is_noticed_within_three_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        assert not archive.reachable("a.zip", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - started < 20, "the connection's own patience is minutes"
    assert not archive.reachable("a.zip", CLOSED)
    assert not archive.reachable("a.zip", "ftp://127.0.0.1")


# -- command --------------------------------------------------------------------------------------


def test_the_command_says_which_it_took(catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--catalog", str(catalog), "--source", "synthetic", "--start", WINDOW[0], "--end", WINDOW[1]]
    assert main(arguments) == 0
    assert "sample: SYNTHETIC data, seeded generator" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["source"], report["synthetic"], report["label"]) == ("synthetic", True, "SYNTHETIC")
    assert report["bars"] == {"BTCUSDT": 192, "ETHUSDT": 192, "XRPUSDT": 192}


def test_a_wrong_time_is_one_line_and_code_2(catalog: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "catalog.sample", "--catalog", str(catalog), "--start", "March"],
        cwd=DEFAULT_PATH.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'March' is not an ISO-8601 time")
    assert done.stderr.count("\n") == 1


def test_the_machines_own_data_makes_the_full_window(catalog: Path) -> None:
    real = bool(os.environ.get("ARGONAUT_DATA")) or sample_sources.SHARED.is_dir()
    info = prepare(catalog, source="auto" if real else "synthetic")
    assert info.synthetic is not real
    assert info.bars["BTCUSDT"] == info.bars["ETHUSDT"] == 210 * DAY_BARS
    assert info.bars["XRPUSDT"] >= 210 * DAY_BARS - 60
