import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from node.journal import open_journal
from node.journal.__main__ import _KINDS, main
from node.journal.reader import KINDS
from strategies.errors import JournalError
from strategies.records import AnyRecord

_REPOSITORY = Path(__file__).parents[3]


def _run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "node.journal", *arguments],
        cwd=_REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def filled(url, make):
    journal = open_journal(url)
    for record in make.one_of_each():
        journal.record(record)
    journal.record(make.trade("BTCUSDT/C-2", market_time=5_000_000_000, exit_reason="[bold]TAKE_PROFIT"))
    journal.close()
    return url


def test_the_command_knows_every_kind():
    assert tuple(KINDS) == _KINDS


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["export", "--help"]])
def test_help_comes_quickly(arguments):
    durations = []
    for _ in range(3):
        started = time.perf_counter()
        done = _run(*arguments)
        durations.append(time.perf_counter() - started)
        assert done.returncode == 0
        assert "usage: python -m node.journal" in done.stdout
    assert min(durations) < 0.8


def test_counts(filled, capsys):
    assert main(["counts", "--url", filled, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {kind: 2 if kind == "trade" else 1 for kind in KINDS}
    main(["counts", "--url", filled])
    assert "trade" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_show_prints_every_kind(filled, capsys, make, kind):
    (record,) = (record for record in make.one_of_each() if record.kind == kind)
    main(["show", "--url", filled, "--kind", kind])
    table = capsys.readouterr().out
    assert record.id in table
    main(["show", "--url", filled, "--kind", kind, "--json"])
    records = msgspec.json.decode(capsys.readouterr().out, type=list[AnyRecord])
    assert record in records


def test_show_filters_and_takes_words_literally(filled, capsys):
    main(["show", "--url", filled, "--symbol", "BTCUSDT"])
    out = capsys.readouterr().out
    assert "BTCUSDT/C-2" in out
    assert "XRPUSDT" not in out
    assert "[bold]TAKE_PROFIT" in out
    main(["show", "--url", filled, "--json", "--start", "1970-01-01T00:00:05Z", "--end", "1970-01-01T01:00:06+01:00"])
    assert [trade["id"] for trade in json.loads(capsys.readouterr().out)] == ["BTCUSDT/C-2"]
    main(["show", "--url", filled, "--json", "--end", "1970-01-01T00:00:05"])
    assert [trade["id"] for trade in json.loads(capsys.readouterr().out)] == ["XRPUSDT/C-1"]
    main(["show", "--url", filled, "--json", "--limit", "1"])
    assert [trade["id"] for trade in json.loads(capsys.readouterr().out)] == ["BTCUSDT/C-2"]


def test_export_writes_every_record_and_can_be_read_again(filled, tmp_path, make):
    out = tmp_path / "journal.jsonl"
    out.write_text("the file that was there before")
    main(["export", "--url", filled, "--out", str(out)])
    records = [msgspec.json.decode(line, type=AnyRecord) for line in out.read_text().splitlines()]
    assert len(records) == 11
    assert all(record in records for record in make.one_of_each())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["journal.jsonl"]


def test_export_to_a_pipe_that_closes_early_is_quiet(tmp_path, make):
    url = f"sqlite:///{tmp_path}/journal.sqlite"
    journal = open_journal(url)
    for number in range(2_000):  # more than a pipe holds
        journal.record(make.trade(f"XRPUSDT/C-{number}"))
    journal.close()
    command = [sys.executable, "-m", "node.journal", "export", "--url", url]
    with subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"{"
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 0
    assert errors == b""


def test_export_into_a_missing_folder_is_one_line(filled, tmp_path):
    with pytest.raises(JournalError, match="cannot be written"):
        main(["export", "--url", filled, "--out", str(tmp_path / "nowhere" / "file")])


def test_the_address_may_come_from_the_environment(filled):
    done = _run("counts", "--json", ARGONAUT_JOURNAL_URL=filled)
    assert done.returncode == 0
    assert json.loads(done.stdout)["fill"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["counts"], "no journal given"),
        (["counts", "--url", "sqlite:///no/such.sqlite"], "no such file"),
        (["counts", "--url", "mysql://u:geheim@h/d"], "journal address"),
        (["show", "--url", "x", "--kind", "nonsense"], "invalid choice"),
        (["show", "--url", "x", "--limit", "0"], "not a positive number"),
        (["show", "--url", "x", "--start", "yesterday"], "not an ISO-8601 time"),
    ],
)
def test_a_mistake_is_exit_code_two_and_no_traceback(arguments, words):
    done = _run(*arguments, ARGONAUT_JOURNAL_URL="")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
