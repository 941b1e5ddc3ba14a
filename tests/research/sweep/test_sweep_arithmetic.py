"""The kernel's exact arithmetic against decimals and against the engine's own types."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.objects import Money, Price, Quantity

from node.simulation.pricing import slipped_price
from research.sweep import kernel as k
from research.sweep.market import _shortest_texts
from strategies.sizing import exact, to_grid


@pytest.fixture(name="random")
def random_fixture():
    return np.random.default_rng(20_251_125)


def test_divide_is_exact_for_products_beyond_64_bits(random):
    for _ in range(5_000):
        d = int(random.integers(1, 2**60))
        q = int(random.integers(0, 2**40))
        a = int(random.integers(1, 2**62))
        b = min(q * d // a + int(random.integers(0, 3)), 2**62)
        x = Fraction(a * b, d)
        if x >= 4e15:
            assert k.divide(a, b, d, False) == -1
            continue
        assert k.divide(a, b, d, False) == int(x)
        assert k.divide(a, b, d, True) == round(x)  # Python rounds fractions half-even
    for a, d, even in ((5, 2, 2), (7, 2, 4), (1, 2, 0), (3, 2, 2)):
        assert k.divide(a, 1, d, True) == even


def test_compare_is_exact(random):
    for _ in range(5_000):
        a, b, c = (int(random.integers(1, 2**54)) for _ in range(3))
        d = min(a * b // c + int(random.integers(-1, 2)), 2**55)
        x = a * b - c * d
        assert k.compare(a, b, c, d) == (x > 0) - (x < 0)


def test_prices_go_to_the_tick_as_the_guard_rounds_them(random):
    for tick in ("0.10", "0.01", "0.0001", "0.05"):
        step, digits = Decimal(tick), -Decimal(tick).as_tuple().exponent
        values = [float(x) for x in random.uniform(0.5, 90_000, 3_000)]
        # Ties and their neighbours: where the nearest float alone would mislead.
        ties = [float((2 * n + 1) * step / 2) for n in random.integers(10, 900_000, 3_000).tolist()]
        values += ties + [float(np.nextafter(x, 0)) for x in ties] + [float(np.nextafter(x, 1e9)) for x in ties]
        for x in values:
            expected = to_grid(exact(x), step, ROUND_HALF_EVEN)
            got = k.on_grid(x, 10.0**digits, int(step.scaleb(digits)))
            assert Decimal(got).scaleb(-digits) == expected, x
    assert k.on_grid(float("nan"), 100.0, 1) == k.on_grid(-1.0, 100.0, 1) == 0


def test_slippage_is_that_of_the_venue(random):
    tick = Decimal("0.10")
    for _ in range(3_000):
        units = int(random.integers(1, 1_200_000)) * 10
        bps = Decimal(str(round(float(random.uniform(0, 30)), int(random.integers(0, 4)))))
        scale = 10 ** max(-int(bps.as_tuple().exponent), 0)
        den, moved = 10_000 * scale, int(bps * scale)
        for buyer in (True, False):
            expected = slipped_price(Decimal(units).scaleb(-2), buyer, bps, tick)
            got = k.slipped(units, buyer, den + moved, den - moved, den, 10)
            assert Decimal(got).scaleb(-2) == expected


def test_fees_and_profits_are_the_engines_money(random):
    rates = ("0.0004", "0.00045", "0.000317", "0.0005", "0", "-0.0001")
    for _ in range(3_000):
        rate = rates[int(random.integers(len(rates)))]
        quantity = int(random.integers(1, 10 ** int(random.integers(1, 6))))
        price = int(random.integers(1, 12_000_000))
        q, p = Quantity.from_str(f"{Decimal(quantity).scaleb(-3)}"), Price.from_str(f"{Decimal(price).scaleb(-2)}")
        q_float, p_float = k.as_float(quantity, 1e13), k.as_float(price, 1e14)
        assert (q_float, p_float) == (float(q), float(p))
        notional = Money(float(q) * float(p), USDT).as_decimal()
        if notional > 250_000:  # beyond exact floats, see fee_of
            continue
        fee = Money(notional * Decimal(rate), USDT).as_decimal()
        fraction = Fraction(Decimal(rate))
        got = k.fee_of(q_float, p_float, fraction.numerator, fraction.denominator)
        assert Decimal(got).scaleb(-8) == fee


def test_the_walk_order_of_a_bar_is_the_engines_even_where_it_is_cut_to_64_bits():
    raw = 10**14  # units of 0.01 to the engine's 1e-16
    assert k._high_first(8_771_230, 8_850_000, 8_700_000, raw) is False  # the low is nearer
    assert k._high_first(8_771_230, 8_780_000, 8_700_000, raw) is True
    # 2512 USDT down are taken for 668, so the low comes first although the high, 788 away, is nearer.
    assert k._high_first(8_771_230, 8_850_000, 8_520_000, raw) is False


def test_texts_are_those_of_the_engines_floats(random):
    units = random.integers(1, 12_000_000, 5_000)
    texts, digits = _shortest_texts(units, 2)
    assert digits > 2, "some floats are not the nearest to their price"
    for unit, text in zip(units.tolist(), texts.tolist(), strict=True):
        price = Price.from_str(f"{Decimal(unit).scaleb(-2)}")
        assert Decimal(text).scaleb(-digits) == Decimal(repr(float(price)))


def test_a_trailed_level_is_rounded_as_decimals_are(random):
    tick = Decimal("0.1")
    for _ in range(3_000):
        side = 1 if random.random() < 0.5 else -1
        best, width = int(random.integers(10_000, 900_000)), int(random.integers(1, 5_000))
        distance = exact(round(float(random.uniform(0.1, 4)), 2))
        level = Decimal(best).scaleb(-2) - side * distance * Decimal(width).scaleb(-2)
        expected = (level / tick).quantize(Decimal(1))
        fraction = Fraction(distance)
        got = k.trailed(best, side, fraction.numerator, fraction.denominator, width, 10, False)
        assert got == int(expected)
    assert k.trailed(10_010, 1, 1, 2, 10, 10, True) == -1, "a doubtful tie is not decided"
    assert k.trailed(10_010, 1, 1, 2, 10, 10, False) == 1000, "half-even"
