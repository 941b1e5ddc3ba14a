import os
import socket
import traceback

import pytest

from node.journal import open_journal
from strategies.errors import JournalError, UnavailableError


@pytest.mark.parametrize(
    "address",
    [
        "",
        "journal.sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///x.sqlite?timeout=3",
        "mysql://bob:geheim@host/db",
        "oracle+nothing://bob:geheim@host/db",
        "postgresql://bob:geheim@host:notaport/db",
        "postgresql://bob:geheim@host/db?schema=Bad-Name",
        "postgresql://bob:geheim@host/db?schema=a&schema=b",
        "bob:geheim@host",
    ],
)
def test_an_impossible_address_is_one_clear_line_without_password(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JournalError) as caught:
        open_journal(address)
    assert "geheim" not in "".join(traceback.format_exception(caught.value, capture_locals=False))
    assert "journal address" in str(caught.value)
    assert not isinstance(caught.value, UnavailableError), "no start is tried again for a mistake"
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://bob:ge%2Fheim@127.0.0.1:{port}/db",
        "postgresql://bob:ge%2Fheim@127.0.0.1:{port}/db",
        "postgres://bob@127.0.0.1:{port}/db?password=ge%2Fheim",
    ],
)
def test_an_unreachable_server_is_named_without_password(address):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(JournalError) as caught:
            open_journal(address.format(port=port))
    shown = "".join(traceback.format_exception(caught.value))
    assert "ge/heim" not in shown
    assert "ge%2Fheim" not in shown
    assert f"127.0.0.1:{port}/db" in str(caught.value)
    assert "refused" in str(caught.value)
    assert isinstance(caught.value, UnavailableError)


def test_a_wrong_password_is_not_repeated(cluster):
    wrong = cluster.url().replace("s3cr3t%2Fp%40ss", "wr0ng%2Fpass")
    with pytest.raises(JournalError, match="password authentication failed") as caught:
        open_journal(wrong)
    shown = "".join(traceback.format_exception(caught.value))
    assert "wr0ng" not in shown
    assert not isinstance(caught.value, UnavailableError), "waiting does not mend it"


def test_the_password_is_in_no_label(journal):
    assert "s3cr3t" not in journal.label


def test_relative_files_lie_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_journal("sqlite:///var/deep/journal.sqlite").close()
    assert (tmp_path / "var/deep/journal.sqlite").is_file()
    open_journal("sqlite:///var/deep/journal.sqlite", read_only=True).close()


@pytest.mark.parametrize(
    "name", ["with space.sqlite", "100%.sqlite", "q?x=1.sqlite".replace("?", "%3F"), "ünï#1.sqlite"]
)
def test_odd_file_names_work(tmp_path, name, make):
    address = f"sqlite:///{tmp_path}/{name}"
    journal = open_journal(address)
    journal.record(make.fill())
    journal.close()
    reader = open_journal(address, read_only=True)
    assert reader.fills() == [make.fill()]
    reader.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be created"):
        open_journal(f"sqlite:///{tmp_path}/file/journal.sqlite")


def test_a_path_that_is_a_folder_is_told(tmp_path):
    with pytest.raises(JournalError, match="unable to open database file") as caught:
        open_journal(f"sqlite:///{tmp_path}")
    assert not isinstance(caught.value, UnavailableError)


def test_options_are_checked(tmp_path):
    with pytest.raises(TypeError, match="capacty"):
        open_journal(f"sqlite:///{tmp_path}/journal.sqlite", capacty=5)
    assert os.listdir(tmp_path)  # noqa: PTH208 - only the fact that it was opened first matters
