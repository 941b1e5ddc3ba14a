"""A folder is replaced as a whole: whoever looks always finds a complete one."""

import os
import threading

import pytest

from research import folder_swap
from research.folder_swap import put_in_place, write_beside
from strategies.errors import ModelError


def _put(folder, text):
    return put_in_place(write_beside(folder, {"a": text, "b": text}), folder)


def test_first_second_and_third_folder(tmp_path):
    folder = tmp_path / "deep" / "model"
    assert _put(folder, b"one") is None
    previous = _put(folder, b"two")
    assert (folder / "a").read_bytes() == b"two"
    assert (previous / "a").read_bytes() == b"one"
    assert _put(folder, b"three") == previous
    assert (previous / "a").read_bytes() == b"two"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["model", "model.previous"]


def test_a_reader_never_finds_it_absent_or_mixed(tmp_path):
    folder = tmp_path / "model"
    _put(folder, b"0" * 4096)
    stop, faults, reads = threading.Event(), [], 0

    def read():
        nonlocal reads
        while not stop.is_set():
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                parts = []
                for name in ("a", "b"):
                    file = os.open(name, os.O_RDONLY, dir_fd=handle)
                    parts.append(os.read(file, 8192))
                    os.close(file)
            except FileNotFoundError:
                # The opened directory was removed as an old version meanwhile: two exchanges passed, not a fault.
                continue
            finally:
                os.close(handle)
            reads += 1
            if parts[0] != parts[1] or len(parts[0]) != 4096:
                faults.append(parts)

    thread = threading.Thread(target=read)
    failures = []
    original = threading.excepthook
    threading.excepthook = failures.append
    try:
        thread.start()
        for i in range(1, 40):
            _put(folder, str(i % 10).encode() * 4096)
    finally:
        stop.set()
        thread.join()
        threading.excepthook = original
    assert not failures, "the folder was absent for a moment"
    assert not faults
    assert reads > 10


def test_a_file_system_that_cannot_exchange_still_keeps_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    _put(folder, b"one")
    monkeypatch.setattr(folder_swap, "_exchange", lambda *_: False)
    previous = _put(folder, b"two")
    assert (folder / "a").read_bytes() == b"two"
    assert (previous / "a").read_bytes() == b"one"


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="cannot be written"):
        write_beside(tmp_path / "file" / "model", {"a": b""})
