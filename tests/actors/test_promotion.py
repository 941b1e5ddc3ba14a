"""A promotion counts only for the very model, by the key trusted, unchanged; the gate says by name what is wrong."""

import json

import msgspec
import pytest

from actors.model_folder import ModelFault, ModelFolderError, folder_state, load_model
from actors.promotion import PromotionFault, require_promotion
from research.testing import promoted, small_model
from research.training import publish
from strategies.kernel.columns import FEATURE_SCHEMA


def _check(folder, key):
    return require_promotion(folder, load_model(folder, schema=FEATURE_SCHEMA), key)


def _fault(folder, key):
    with pytest.raises(ModelFolderError) as caught:
        _check(folder, key)
    assert caught.value.fault is ModelFault.NOT_PROMOTED
    return PromotionFault(str(caught.value).split(": ")[2])


def _edit(folder, **changes):
    path = folder / "promotion.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(name="signed")
def signed_fixture(tmp_path):
    model, key = promoted(small_model())
    publish(model, tmp_path / "model")
    return tmp_path / "model", key


def test_a_promoted_model_is_accepted(signed):
    folder, key = signed
    assert _check(folder, key).passed


def test_every_way_not_to_be_promoted_has_a_name(signed, tmp_path):
    folder, key = signed
    assert _fault(folder, "") is PromotionFault.NO_KEY
    assert _fault(folder, "ab" * 32) is PromotionFault.OTHER_KEY
    path = folder / "promotion.json"
    whole = path.read_bytes()
    for changes in ({"created": "2030-01-01T00:00:00Z"}, {"data_hash": "0"}, {"synthetic": True}, {"passed": False}):
        _edit(folder, **changes)
        assert _fault(folder, key) is PromotionFault.BAD_SIGNATURE
        path.write_bytes(whole)
    _edit(folder, key="ab" * 32)
    assert _fault(folder, "ab" * 32) is PromotionFault.BAD_SIGNATURE
    for text in ("{", "[]", '{"surprise": 1}'):
        path.write_text(text)
        assert _fault(folder, key) is PromotionFault.MALFORMED
    path.write_bytes(whole.replace(b'"format_version": 1', b'"format_version": 9'))
    assert _fault(folder, key) is PromotionFault.MALFORMED
    path.unlink()
    assert _fault(folder, key) is PromotionFault.UNPROMOTED

    other = small_model(seed=2)
    publish(type(other)(other.manifest, other.files | {"promotion.json": whole}), tmp_path / "other")
    assert _fault(tmp_path / "other", key) is PromotionFault.OTHER_MODEL
    for changes, fault in (({"passed": False}, PromotionFault.FAILED), ({"synthetic": True}, PromotionFault.SYNTHETIC)):
        model, _ = promoted(small_model(), **changes)
        publish(model, folder)
        assert _fault(folder, key) is fault


def test_a_byte_changed_in_a_promoted_folder_is_noticed_whoever_sealed_it(signed):
    folder, key = signed
    manifest = json.loads((folder / "model.json").read_bytes())
    (folder / "model.json").write_bytes(msgspec.json.encode(manifest | {"threshold": 0.01}))
    with pytest.raises(ModelFolderError) as caught:
        _check(folder, key)
    assert caught.value.fault is ModelFault.HASH_MISMATCH
    model, _ = promoted(small_model())
    sealed = small_model(threshold=0.01)  # sealed anew, as somebody can who knows the format
    publish(type(sealed)(sealed.manifest, sealed.files | {"promotion.json": model.files["promotion.json"]}), folder)
    assert _fault(folder, key) is PromotionFault.OTHER_MODEL


def test_taking_the_promotion_away_changes_the_folder_state(signed):
    folder, _ = signed
    before = folder_state(folder)
    (folder / "promotion.json").unlink()
    assert folder_state(folder) != before
