"""
Whether a model folder was promoted: ``promotion.json``, the signed verdict of ``python -m research.promote``.

The verdict names the SHA-256 of ``model.json``, which names those of all other files, so the signature covers every
byte that decides. It is an Ed25519 signature (RFC 8032): the machine that does research holds the private key, the node
only the public one, from its configuration. So whoever can write to the node's disk can take a model away, but not put
one in; whoever can also write the node's configuration, or holds the private key, can. What the signature does not say
is that the evidence was honest: it says that the holder of the key ran the examination, on which data, code and
configuration.
"""

from enum import StrEnum, unique
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from actors.model_folder import PROMOTION, LoadedModel, ModelFault, ModelFolderError
from strategies.yaml_config import FrozenConfig

PROMOTION_FORMAT = 1


@unique
class PromotionFault(StrEnum):
    """Why a model does not count as promoted."""

    UNPROMOTED = "unpromoted"
    MALFORMED = "promotion_malformed"
    OTHER_MODEL = "promotion_of_another_model"
    OTHER_KEY = "promotion_by_another_key"
    BAD_SIGNATURE = "promotion_bad_signature"
    FAILED = "promotion_failed"
    SYNTHETIC = "promotion_on_synthetic_data"
    NO_KEY = "promotion_key_not_configured"


class Finding(FrozenConfig, frozen=True):
    """
    One condition of the examination.

    Attributes
    ----------
    name : str
        Enumerated, see ``research.promotion.verdict``.
    passed : bool
        Whether it held.
    detail : str
        For people.
    figures : dict
        What was measured.

    """

    name: str
    passed: bool
    detail: str
    figures: dict[str, Any] = msgspec.field(default_factory=dict)


class Promotion(FrozenConfig, frozen=True):
    """
    The content of ``promotion.json``.

    Attributes
    ----------
    format_version : int
        Layout; another one is refused.
    passed : bool
        Whether the model may decide.
    findings : list[Finding]
        Every condition.
    model : str
        SHA-256 of ``model.json``.
    data_hash, config_hash, code_hash, ledger : str
        Of the values used, of the training configuration, of the code that examined, of the line in the trial ledger.
    synthetic : bool
        The data are no market's.
    created : str
        Wall time, ISO-8601.
    key, signature : str
        Public key and signature over everything else, hex.

    """

    format_version: int
    passed: bool
    findings: list[Finding]
    model: str
    data_hash: str
    config_hash: str
    code_hash: str
    ledger: str
    synthetic: bool
    created: str
    key: str = ""
    signature: str = ""


def sign(promotion: Promotion, private_key: bytes) -> Promotion:
    """Return the promotion signed with a private key of 32 bytes; raises ValueError (propagate) for another length."""
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    named = msgspec.structs.replace(promotion, key=key.public_key().public_bytes_raw().hex(), signature="")
    return msgspec.structs.replace(named, signature=key.sign(_payload(named)).hex())


def encode(promotion: Promotion) -> bytes:
    """Return the bytes of ``promotion.json``."""
    return msgspec.json.format(msgspec.json.encode(promotion), indent=2) + b"\n"


def require_promotion(folder: Path, model: LoadedModel, key: str) -> Promotion:
    """
    Return the promotion of a model that may decide over real money.

    Parameters
    ----------
    folder : Path
        For messages.
    model : LoadedModel
        The verified model, with the promotion that was read beside it.
    key : str
        Public key trusted, hex; from the node's configuration.

    Raises
    ------
    ModelFolderError
        Fail closed: fault ``not_promoted``; the message opens with a value of :class:`PromotionFault`.

    """

    def refuse(fault: PromotionFault, detail: str) -> ModelFolderError:
        return ModelFolderError(folder, ModelFault.NOT_PROMOTED, f"{fault}: {detail}")

    if model.promotion is None:
        raise refuse(PromotionFault.UNPROMOTED, f"no {PROMOTION}: run `python -m research.promote`")
    try:
        found = msgspec.json.decode(model.promotion, type=Promotion)
        signature, signer = bytes.fromhex(found.signature), bytes.fromhex(found.key)
    except ValueError as e:
        raise refuse(PromotionFault.MALFORMED, f"{PROMOTION}: {e}") from None
    if found.format_version != PROMOTION_FORMAT:
        raise refuse(PromotionFault.MALFORMED, f"format {found.format_version}, {PROMOTION_FORMAT} expected")
    if found.model != model.fingerprint:
        detail = f"it was given to {found.model[:12]}, this is {model.fingerprint[:12]}"
        raise refuse(PromotionFault.OTHER_MODEL, detail)
    if not key:
        raise refuse(PromotionFault.NO_KEY, "set gate.promotion_key to the public key whose promotions count")
    if found.key != key:
        raise refuse(PromotionFault.OTHER_KEY, f"signed by {found.key[:12]}, gate.promotion_key is {key[:12]}")
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, _payload(found))
    except (InvalidSignature, ValueError):
        raise refuse(PromotionFault.BAD_SIGNATURE, f"{PROMOTION} was changed after it was signed") from None
    if not found.passed:
        names = ", ".join(f.name for f in found.findings if not f.passed)
        raise refuse(PromotionFault.FAILED, f"the examination failed: {names}")
    if found.synthetic:
        raise refuse(PromotionFault.SYNTHETIC, "the figures say nothing about a market")
    return found


def _payload(promotion: Promotion) -> bytes:
    plain = msgspec.to_builtins(msgspec.structs.replace(promotion, signature=""))
    return msgspec.json.encode(plain, order="sorted")
