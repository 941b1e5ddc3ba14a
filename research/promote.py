"""
Examine a trained model and, if every condition holds, sign it and put it where the node looks.

``python -m research.promote var/models/candidate --to var/models/composite``

The private key comes from the environment (``ARGONAUT_PROMOTION_KEY``, 64 hex digits); the node knows the public one
(``gate.promotion_key``). ``--new-key FILE`` makes a pair. Exit code 0: promoted; 1: a condition does not hold.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.errors import ConfigError
from strategies.startup import run_command

if TYPE_CHECKING:
    from actors.promotion import Promotion
    from research.promotion.conditions import Hurdles

KEY_VARIABLE = "ARGONAUT_PROMOTION_KEY"
DEFAULT_CATALOG = Path("var/catalog")
DEFAULT_TARGET = Path("var/models/composite")


def private_key(environ: dict[str, str]) -> bytes:
    """
    Return the private key of the environment.

    Raises
    ------
    ConfigError
        Fatal: not set, or not 64 hex digits; the value is not repeated.

    """
    text = environ.get(KEY_VARIABLE, "").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        state = "not 64 hex digits" if text else "not set"
        raise ConfigError(f"{KEY_VARIABLE}: {state}: make a pair with --new-key FILE, then export the file's content")
    return key


def new_key(path: Path) -> str:
    """
    Write a new private key to `path` (mode 600) and return the public key, hex.

    Raises
    ------
    ConfigError
        Fatal: the file exists already or cannot be written.

    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - `--help` first

    key = Ed25519PrivateKey.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key.private_bytes_raw().hex() + "\n")
    except OSError as e:
        raise ConfigError(f"--new-key: {path}: {e.strerror or e}") from None
    return key.public_key().public_bytes_raw().hex()


def promote(candidate: Path, target: Path, verdict: "Promotion") -> None:
    """
    Put the candidate, with its signed verdict, in the place of `target`; the model before stays as ``.previous``.

    Raises
    ------
    ModelError
        Fail closed: the folder changed since it was examined, or cannot be written; `target` is as it was.

    """
    from actors.model_folder import FILES, MANIFEST, PROMOTION, load_model  # noqa: PLC0415 - `--help` first
    from actors.promotion import encode, require_promotion  # noqa: PLC0415 - as above
    from research.folder_swap import put_in_place, write_beside  # noqa: PLC0415 - as above
    from strategies.errors import ModelError  # noqa: PLC0415 - as above
    from strategies.kernel.columns import FEATURE_SCHEMA  # noqa: PLC0415 - as above

    files = {name: (candidate / name).read_bytes() for name in (MANIFEST, *FILES)}
    beside = write_beside(target, files | {PROMOTION: encode(verdict)})
    try:
        model = load_model(beside, schema=FEATURE_SCHEMA)
        if verdict.synthetic:
            if model.fingerprint != verdict.model:
                raise ModelError(f"{candidate}: changed while it was examined: nothing was written")
        else:
            require_promotion(beside, model, verdict.key)
        put_in_place(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def text_of(verdict: "Promotion") -> str:
    """Return a line per condition, and the verdict last."""
    lines = [f"{'ok' if f.passed else 'FAILED':<7} {f.name}: {f.detail}" for f in verdict.findings]
    failed = [f.name for f in verdict.findings if not f.passed]
    lines.append(f"NOT promoted: {', '.join(failed)}" if failed else "every condition holds")
    if not failed and verdict.synthetic:
        lines.append("SYNTHETIC data: no node with real money accepts this promotion")
    return "\n".join(lines) + "\n"


def _hurdles(path: Path | None) -> "Hurdles":
    from research.promotion.conditions import Hurdles  # noqa: PLC0415 - `--help` first
    from strategies.yaml_config import load_yaml  # noqa: PLC0415 - as above

    return Hurdles() if path is None else load_yaml(path, Hurdles)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    lines = __doc__.strip().splitlines()
    parser = argparse.ArgumentParser(prog="python -m research.promote", description=lines[0])
    parser.add_argument("candidate", type=Path, nargs="?", help="model folder written by research.train")
    parser.add_argument("--to", type=Path, default=DEFAULT_TARGET, help=f"folder the node looks at ({DEFAULT_TARGET})")
    parser.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help=f"catalog directory ({DEFAULT_CATALOG})")
    parser.add_argument("--hurdles", type=Path, help="YAML with what is demanded (see config/promote.yaml)")
    parser.add_argument("--again", action="store_true", help="look at a hold-out a second time (counted, and told)")
    parser.add_argument("--allow-synthetic", action="store_true", help="for trying out; worth nothing with real money")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="write a new private key, print the public one")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    given = _arguments(arguments)
    if given.new_key is not None:
        sys.stdout.write(f"gate.promotion_key: {new_key(given.new_key)}\n")
        return 0
    if given.candidate is None:
        raise ConfigError("name the candidate's folder, such as var/models/candidate")
    if given.candidate.resolve() == given.to.resolve():
        raise ConfigError(f"--to: {given.to} is the candidate itself: train into a folder of its own")
    key = private_key(dict(os.environ))
    hurdles = _hurdles(given.hurdles)

    from actors.model_folder import PROMOTION  # noqa: PLC0415 - `--help` answers before these imports
    from actors.promotion import encode, sign  # noqa: PLC0415 - as above
    from research.promotion.examination import Request, examine  # noqa: PLC0415 - as above

    command = ["research.promote", *(arguments if arguments is not None else sys.argv[1:])]
    verdict = sign(
        examine(
            Request(
                given.candidate,
                given.catalog,
                hurdles,
                allow_synthetic=given.allow_synthetic,
                again=given.again,
                command=command,
            )
        ),
        key,
    )
    sys.stdout.write(text_of(verdict))
    if not verdict.passed:
        if given.candidate.is_dir():
            temporary = given.candidate / f".{PROMOTION}.{os.getpid()}"
            temporary.write_bytes(encode(verdict))
            temporary.replace(given.candidate / PROMOTION)
        return 1
    promote(given.candidate, given.to, verdict)
    sys.stdout.write(f"promoted  {given.to} ({verdict.model[:12]}), signed by {verdict.key[:12]}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
