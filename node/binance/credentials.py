"""
The API secret as the environment holds it: an HMAC secret, an Ed25519 private key, or the name of a file with one.

Text is never shown in an error: it may be the secret itself; only a file's name is.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from strategies.errors import ConfigError

PKCS8_ED25519: Final = base64.b64decode("MC4CAQAwBQYDK2VwBCIEIA==")
"""What every Ed25519 private key in PKCS#8 begins with; 32 bytes follow."""

_LONGEST: Final = 10_000
_PEM: Final = "-----BEGIN"

type KeyType = Literal["Ed25519", "HMAC"]


def secret_from(environ: Mapping[str, str], name: str) -> str:
    """
    Return the secret the variable `name` holds, or that lies in the file it names; empty if it is not set.

    A value is a file's name if it ends in ``.pem`` or begins with ``/``, ``~/`` or ``./`` (no secret does). In a PEM
    text given inline, a backslash and ``n`` may stand for a line end.

    Raises
    ------
    ConfigError
        Fatal: the file cannot be read, is empty, or a PEM block is not an unencrypted Ed25519 private key.

    """
    value = environ.get(name, "").strip()
    if value.startswith(_PEM):
        return _checked(value.replace("\\n", "\n"), name)
    if not (value.endswith(".pem") or value.startswith(("/", "~/", "./"))):
        return value
    path = Path(value).expanduser()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not text"
        raise ConfigError(f"{name}: {path}: the key file cannot be read: {reason}") from None
    if not text:
        raise ConfigError(f"{name}: {path}: the key file is empty")
    return _checked(text, f"{name}: {path}")


def ed25519_seed(secret: str) -> bytes | None:
    """Return the 32 bytes of an Ed25519 private key (PEM or base64 PKCS#8), or None if it is not one."""
    body = "".join(line for line in secret.strip().splitlines() if not line.startswith("-----"))
    try:
        der = base64.b64decode(body, validate=True)
    except ValueError:
        return None
    return der[-32:] if len(der) == len(PKCS8_ED25519) + 32 and der.startswith(PKCS8_ED25519) else None


def key_type(secret: str) -> KeyType:
    """Return what kind of key a secret belongs to."""
    return "HMAC" if ed25519_seed(secret) is None else "Ed25519"


def _checked(secret: str, place: str) -> str:
    if secret.startswith("-----") and ed25519_seed(secret) is None:
        raise ConfigError(
            f"{place}: not an unencrypted Ed25519 private key: make one with `openssl genpkey -algorithm ed25519`"
        )
    return secret
