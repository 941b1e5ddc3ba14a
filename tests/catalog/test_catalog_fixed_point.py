"""128-bit fixed point, vectorised, equals Python's integers and Nautilus's floats."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity

from catalog.fixed_point import MAX_UNITS, SCALE_DIGITS, decode, encode, stored_floats, to_float


def test_the_build_of_nautilus_has_the_digits_the_module_assumes() -> None:
    assert FIXED_PRECISION == SCALE_DIGITS


@given(st.lists(st.integers(0, MAX_UNITS), min_size=1, max_size=20), st.integers(0, 16))
def test_encode_is_the_product_and_decode_its_inverse(values: list[int], precision: int) -> None:
    units = np.array(values, dtype=np.int64)
    words = encode(units, precision)
    assert [(int(high) << 64) | int(low) for low, high in words] == [v * 10 ** (16 - precision) for v in values]
    back, whole = decode(words, precision)
    assert whole.all()
    assert back.tolist() == values


@given(st.integers(-(2**127), 2**127 - 1), st.integers(0, 16))
def test_decode_accepts_exactly_the_whole_multiples(raw: int, precision: int) -> None:
    words = np.frombuffer(raw.to_bytes(16, "little", signed=True), np.uint64).reshape(1, 2)
    _, whole = decode(words, precision)
    factor = 10 ** (16 - precision)
    assert bool(whole[0]) == (raw % factor == 0 and 0 <= raw // factor <= MAX_UNITS)


@pytest.mark.parametrize("kind", [Price, Quantity])
@given(data=st.data(), precision=st.integers(0, 9))
def test_floats_are_bit_equal_to_the_engines(kind: type, data: st.DataObject, precision: int) -> None:
    units = data.draw(st.integers(0, min(10**13 * 10**precision, MAX_UNITS)))
    text = format(Decimal(units).scaleb(-precision), "f")
    assert to_float(np.array([units], dtype=np.int64), precision)[0] == float(kind.from_str(text))


@given(st.lists(st.integers(0, MAX_UNITS), max_size=20), st.integers(0, 16))
def test_stored_floats_are_those_of_the_units(values: list[int], precision: int) -> None:
    units = np.array(values, dtype=np.int64)
    floats = stored_floats(encode(units, precision), precision)
    assert floats is not None
    assert floats.tolist() == to_float(units, precision).tolist()


@pytest.mark.parametrize(("units", "precision"), [(24_533, 4), (6_700_000, 1), (2**49, 3)])
def test_a_stored_number_with_a_digit_too_many_is_noticed(units: int, precision: int) -> None:
    words = encode(np.array([units * 10 + 5], dtype=np.int64), precision + 1)
    assert stored_floats(words, precision) is None
    assert stored_floats(words, precision + 1) is not None
