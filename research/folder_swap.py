"""Publish a folder as a whole: readers meet the old one or the new one, never a mixture and never nothing."""

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from strategies.errors import ModelError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def write_beside(folder: Path, files: Mapping[str, bytes]) -> Path:
    """
    Write `files` into a new directory beside `folder`, durably, and return it.

    Raises
    ------
    ModelError
        Propagate: the place cannot be written; nothing is left behind.

    """
    beside = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name, content in files.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(beside)
    except OSError as e:
        shutil.rmtree(beside, ignore_errors=True)
        raise ModelError(f"{folder}: cannot be written: {e.strerror or e}") from None
    return beside


def put_in_place(beside: Path, folder: Path) -> Path | None:
    """
    Make `beside` the content of `folder` and return where the old content is kept (``<folder>.previous``).

    One system call exchanges both names, so `folder` exists at every moment. Where the file system cannot exchange
    names, the folder is absent between two renames (degraded: the gate keeps its running model while it is).

    Raises
    ------
    ModelError
        Propagate: a rename failed; the old content is still there, under its name or as ``.previous``.

    """
    previous = folder.with_name(f"{folder.name}.previous")
    try:
        if not folder.exists():
            beside.rename(folder)
            _sync(folder.parent)
            return None
        if _exchange(beside, folder):
            _replace(beside, previous)
        else:
            _replace(folder, previous)
            beside.rename(folder)
        _sync(folder.parent)
    except OSError as e:
        raise ModelError(f"{folder}: cannot be replaced: {e.strerror or e}") from None
    return previous


def _replace(source: Path, target: Path) -> None:
    if target.exists():
        oldest = target.with_name(f".{target.name}.old-{os.getpid()}")
        target.rename(oldest)
        source.rename(target)
        shutil.rmtree(oldest, ignore_errors=True)
    else:
        source.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library older than the call
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
