"""A raw store of an older version brought into the present form: content hashes, and files of a month."""

from pathlib import Path

import pyarrow as pa

from catalog.raw import quality
from catalog.raw.change import changing
from catalog.raw.day_files import Day, former_hash, period_of, pieces, writer_of
from catalog.raw.days import verified
from catalog.raw.kinds import KINDS


def rehash(root: Path, wait_seconds: float = 60.0) -> tuple[list[Path], list[Path]]:
    """
    Bring a store of an older version into the present form, all at once; rows stay as they are.

    Days whose hash has the form of before 2026-11-25 get the present one; of slow kinds the files of single days are
    put together to one a month.

    Returns
    -------
    written, refused : list of Path
        Files that are new, and those whose rows have neither hash: these are damaged and left as they are.

    Raises
    ------
    DataError
        Propagate: disk full, another writer; the store is as before.

    """
    refused: list[Path] = []
    with changing(root, wait_seconds) as change:
        for kind in KINDS.values():
            old = sorted((root / kind.name).rglob("????-??-??.parquet"))
            for folder, period in sorted({(file.parent, period_of(kind, file.stem)) for file in old}):
                held = change.stored(folder, kind, period)
                wrong = [day.path for day, fault in verified(held) if fault and not _has_former_hash(day)]
                refused += wrong
                if wrong or (not kind.monthly and all(fault is None for _, fault in verified(held))):
                    continue
                writer = None
                for _, table in pieces(held):
                    writer = writer or writer_of(kind, change.new_file(), table.schema)
                    writer.add(table)
                if writer is not None:
                    writer.close()
                    change.stage(folder / f"{period}.parquet", writer, kind)
        written = sorted(change.staged)
        for file in written:
            _, symbol, *interval = file.parent.relative_to(root).parts
            quality.stage_file(change, file, symbol=symbol, interval=interval[0] if interval else None)
        change.commit()
    return written, refused


def _has_former_hash(day: Day) -> bool:
    try:
        return day.path.stem == day.day and (not day.sha256 or day.sha256 == former_hash(day.path))
    except (OSError, pa.ArrowInvalid):
        return False  # damaged, as has been found already
