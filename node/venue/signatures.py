"""API keys: what each may sign with, and whether a signature is its own."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from node.venue.config import VenueConfig
from strategies.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: its name (X-MBX-APIKEY), HMAC secret (empty: none) and Ed25519 or RSA public key (None: none)."""

    name: str
    secret: str
    public: Ed25519PublicKey | RSAPublicKey | None

    @property
    def may_log_on(self) -> bool:
        """Whether sessions of the WebSocket API may be opened with this key: only Ed25519 keys can."""
        return isinstance(self.public, Ed25519PublicKey)

    def verifies(self, text: str, signature: str) -> bool:
        """Return whether `signature` (hex of HMAC-SHA256, or base64 of Ed25519 or RSA) belongs to `text`."""
        if self.secret:
            expected = hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
            if hmac.compare_digest(signature.lower().encode(), expected.encode()):
                return True
        return self.verifies_public(text, signature)

    def verifies_public(self, text: str, signature: str) -> bool:
        """Return whether `signature` is the one of `text` that belongs to this key's public key."""
        if self.public is None:
            return False
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(raw, text.encode(), PKCS1v15(), SHA256())
            else:
                self.public.verify(raw, text.encode())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def keys_of(config: VenueConfig) -> dict[str, ApiKey]:
    """
    Return the venue's keys by name.

    Raises
    ------
    ConfigError
        Fatal: a public key is not an Ed25519 or RSA key in PEM text, or two keys have the same name.

    """
    rows = [("", config.api_key, config.api_secret, config.api_public_key)]
    rows += [(f"extra_keys[{n}].", k.api_key, k.api_secret, k.api_public_key) for n, k in enumerate(config.extra_keys)]
    found: dict[str, ApiKey] = {}
    for place, name, secret, pem in rows:
        if name in found:
            raise ConfigError(f"{place}api_key: {name!r} is there twice: every key needs a name of its own")
        found[name] = ApiKey(name, secret, _public(pem, f"{place}api_public_key"))
    return found


def _public(pem: str, field: str) -> Ed25519PublicKey | RSAPublicKey | None:
    if not pem.strip():
        return None
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{field}: not a public key in PEM text (-----BEGIN PUBLIC KEY-----)") from None
    if not isinstance(key, Ed25519PublicKey | RSAPublicKey):
        raise ConfigError(
            f"{field}: neither an Ed25519 nor an RSA key: make one with `openssl genpkey -algorithm ed25519`"
        )
    return key
