"""Client order ids: what goes in comes out, they fit the venue, and other people's ids are not ours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.order_ids import MAX_LENGTH, NANOS_PER_MINUTE, Leg, OrderTag, decode, encode, symbol_tag

VENUE = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
CYCLE = 29_345_115 * NANOS_PER_MINUTE

TAGS = st.builds(
    OrderTag,
    code=st.text("ABCXYZ0129", min_size=3, max_size=8),
    cycle=st.integers(0, 60_000_000).map(lambda m: m * NANOS_PER_MINUTE),
    leg=st.sampled_from(Leg),
    attempt=st.integers(0, 36**3 - 1),
    stop_ticks=st.none(),
    target_ticks=st.none(),
)
LEVELS = st.integers(0, 36**6 - 1)


@given(TAGS, LEVELS, LEVELS, st.booleans())
def test_what_is_encoded_is_decoded_and_the_venue_accepts_it(tag, stop, target, with_levels):
    if with_levels:
        tag = tag._replace(stop_ticks=stop, target_ticks=target)
    try:
        text = encode(tag)
    except ValueError:
        assert with_levels, "without levels every id fits"
        assert len(tag.code) > 5
        return
    assert len(text) <= MAX_LENGTH
    assert VENUE.match(text)
    assert decode(text) == tag


@given(TAGS, TAGS)
def test_different_tags_have_different_ids(a, b):
    assert (encode(a) == encode(b)) == (a == b)


def test_the_form_is_the_documented_one():
    assert encode(OrderTag("CMPXRP", CYCLE, Leg.ENTRY, 0, 27_500, 24_100)) == "CMPXRP-hgyu3-E0-l7w-ilg"
    assert encode(OrderTag("CMPXRP", CYCLE, Leg.STOP, 36)) == "CMPXRP-hgyu3-S10"


@pytest.mark.parametrize(
    "text",
    [
        "web_AbC123",
        "autoclose-1600000000",
        "adl_autoclose",
        "android_xyz",
        "O-20250101-000000-001-000-1",
        "S-0190a1b2",
        "x-Cb7ytekJ1234",
        "",
        "CMP",
        "CMPXRP-hgz4b-Q0",
        "CMPXRP-hgz4b-S",
        "cmpxrp-hgz4b-S0",
        "CMPXRP-hgz4b-S0-1",
        "CMPXRP-hgz4b-S0-1-2-3",
        "CMPXRP-hgz4b-S0\n",
        " CMPXRP-hgz4b-S0",
        "CMPXRPABC-hgz4b-S0",
    ],
)
def test_ids_of_others_are_nobodys(text):
    assert decode(text) is None


@given(st.text(max_size=40))
def test_no_text_breaks_decoding(text):
    tag = decode(text)
    assert tag is None or decode(encode(tag)) == tag


@pytest.mark.parametrize(
    "tag",
    [
        OrderTag("CM", CYCLE, Leg.STOP, 0),
        OrderTag("cmp", CYCLE, Leg.STOP, 0),
        OrderTag("CMPXRPABC", CYCLE, Leg.STOP, 0),
        OrderTag("CMP", -NANOS_PER_MINUTE, Leg.STOP, 0),
        OrderTag("CMP", CYCLE, Leg.STOP, -1),
        OrderTag("CMP", CYCLE, Leg.STOP, 36**3),
        OrderTag("CMP", CYCLE, Leg.ENTRY, 0, -1, 5),
        OrderTag("CMPXRPAB", CYCLE, Leg.ENTRY, 0, 36**8, 36**8),
    ],
)
def test_what_could_not_be_read_back_is_refused(tag):
    with pytest.raises(ValueError, match=r"cannot encode|client order id"):
        encode(tag)


def test_symbols_have_short_tags_that_differ():
    assert symbol_tag("XRPUSDT") == "XRP"
    assert symbol_tag("BTCUSDT") == "BTC"
    symbols = ["1000SHIBUSDT", "1000PEPEUSDT", "1000BONKUSDT", "FARTCOINUSDT", "USDCUSDT", "TRUMPUSDT", "BNXNEWUSDT"]
    tags = [symbol_tag(s) for s in symbols]
    assert len(set(tags)) == len(symbols)
    for tag in tags:
        assert re.match(r"^[A-Z0-9]{1,5}$", tag)
        encode(OrderTag(f"CMP{tag}", CYCLE, Leg.ENTRY, 35, 36**5 - 1, 36**5 - 1))
    assert symbol_tag("FARTCOINUSDT") == symbol_tag("FARTCOINUSDT")
