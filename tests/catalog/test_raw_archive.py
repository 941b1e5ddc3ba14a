"""Paths in the exchange's archive, and downloads that go on where they broke off."""

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from catalog import archive
from catalog.raw.__main__ import main
from catalog.raw.days import days
from strategies.errors import DataError

PATH = "data/futures/um/daily/aggTrades/XRPUSDT/XRPUSDT-aggTrades-2025-03-05.zip"


class Server:
    """An archive with one file; `cut` lets the next answers break off after so many bytes."""

    def __init__(self) -> None:
        text = "".join(f"{i},2.4,1.0,{i},{i},{1_741_132_800_000 + i},true\n" for i in range(20_000))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
            made.writestr("XRPUSDT-aggTrades-2025-03-05.csv", text)
        self.content = packed.getvalue()
        self.checksum = hashlib.sha256(self.content).hexdigest()
        self.cut: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                if self.path == f"/{PATH}.CHECKSUM":
                    body = f"{outer.checksum}  {Path(PATH).name}\n".encode()
                    self.send_response(200)
                elif self.path == f"/{PATH}":
                    wanted = self.headers.get("Range")
                    outer.asked.append(wanted)
                    first = int(re.sub(r"\D", "", wanted)) if wanted and outer.ranges else 0
                    if first and first >= len(outer.content):
                        self.send_error(416)
                        return
                    body = outer.content[first:]
                    self.send_response(206 if first else 200)
                else:
                    self.send_error(404)
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.path.endswith(".zip") and outer.cut:
                    body = body[: outer.cut.pop(0)]
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000, 200_000]
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be downloaded"):
            archive.fetch([PATH], tmp_path, server.url)
        assert [f.name for f in tmp_path.iterdir()] == [f".{Path(PATH).name}.part"]
    (file,) = archive.fetch([PATH], tmp_path, server.url)
    assert file.read_bytes() == server.content
    assert server.asked == [None, "bytes=100000-", "bytes=300000-"]
    assert [f.name for f in tmp_path.iterdir()] == [file.name]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = [100_000], False
    with pytest.raises(DataError, match="cannot be downloaded"):
        archive.fetch([PATH], tmp_path, server.url)
    (file,) = archive.fetch([PATH], tmp_path, server.url)
    assert file.read_bytes() == server.content


def test_a_part_that_was_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".{Path(PATH).name}.part").write_bytes(server.content)
    (file,) = archive.fetch([PATH], tmp_path, server.url)
    assert file.read_bytes() == server.content


@pytest.mark.parametrize("where", ["in the part", "in the answer", "part too long"])
def test_a_wrong_byte_anywhere_is_found_and_the_next_run_is_right(where: str, server: Server, tmp_path: Path) -> None:
    right, part = server.content, tmp_path / f".{Path(PATH).name}.part"
    if where == "in the part":
        part.write_bytes(b"x" + right[1:50_000])
    elif where == "part too long":
        part.write_bytes(right + b"more")
    else:
        server.content = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(DataError, match="the checksum does not match"):
        archive.fetch([PATH], tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []
    server.content = right
    (file,) = archive.fetch([PATH], tmp_path, server.url)
    assert file.read_bytes() == right


def test_fetch_downloads_and_stores(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--root", str(tmp_path / "raw"), "--into", str(tmp_path / "zips"), "--base-url", server.url]
    arguments = ["fetch", "agg_trades", "--symbol", "XRPUSDT", "--period", "2025-03-05", *places]
    assert main(arguments) == 0
    assert "1 days written" in capsys.readouterr().out
    (day,) = days(tmp_path / "raw", "agg_trades", "XRPUSDT")
    assert day.rows == 20_000
    with pytest.raises(DataError, match="404"):
        main([*arguments[:5], "2025-03-06", *places])


PATHS = {
    ("klines", "2025-03", "15m"): "monthly/klines/XRPUSDT/15m/XRPUSDT-15m-2025-03.zip",
    ("mark_klines", "2025-03-05", "1h"): "daily/markPriceKlines/XRPUSDT/1h/XRPUSDT-1h-2025-03-05.zip",
    ("premium_klines", "2025-03", "1h"): "monthly/premiumIndexKlines/XRPUSDT/1h/XRPUSDT-1h-2025-03.zip",
    ("agg_trades", "2025-03-05", None): "daily/aggTrades/XRPUSDT/XRPUSDT-aggTrades-2025-03-05.zip",
    ("metrics", "2025-03-05", None): "daily/metrics/XRPUSDT/XRPUSDT-metrics-2025-03-05.zip",
    ("book_depth", "2025-03-05", None): "daily/bookDepth/XRPUSDT/XRPUSDT-bookDepth-2025-03-05.zip",
    ("book_ticker", "2024-03", None): "monthly/bookTicker/XRPUSDT/XRPUSDT-bookTicker-2024-03.zip",
    ("funding", "2025-03", None): "monthly/fundingRate/XRPUSDT/XRPUSDT-fundingRate-2025-03.zip",
}


@pytest.mark.parametrize("wanted", PATHS)
def test_paths_are_those_of_the_archive(wanted: tuple[str, str, str | None]) -> None:
    kind, period, interval = wanted
    assert archive.raw_path(kind, "XRPUSDT", period, interval) == f"data/futures/um/{PATHS[wanted]}"


@pytest.mark.parametrize(
    ("kind", "period", "interval", "reason"),
    [
        ("metrics", "2025-03", None, "2025-03-05"),
        ("funding", "2025-03-05", None, "2025-03$"),
        ("klines", "2025-03", None, "give --interval"),
        ("trades", "2025-03", "1m", "there is no --interval"),
        ("trades", "March", None, "2025-03-05 or 2025-03"),
        ("ratios", "2025-03", None, "no such type"),
    ],
)
def test_what_the_archive_does_not_have_is_said(kind: str, period: str, interval: str | None, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        archive.raw_path(kind, "XRPUSDT", period, interval)
