"""Files every row of which obeys the rules, and which no market made: refused by name, taken when somebody insists."""

import random
import shutil

import pytest

from catalog.imports import main as imports
from catalog.ingest import main as ingest
from catalog.reader import load_bars, load_funding
from strategies.errors import DataError
from tests.catalog.market_kit import sheet

HEADER = "open_time,open,high,low,close,volume"
PRICES = (1, 2, 3, 4)
START = 1_741_392_000_000
HOURS = 3_600_000


def candles(count=200, start=START, price=24_000, seed=3):
    source, rows = random.Random(seed), []
    for i in range(count):
        close = price + source.randint(-60, 60)
        high, low = max(price, close) + source.randint(0, 30), min(price, close) - source.randint(0, 30)
        volume = f"{source.randint(10, 900_000) / 10:.1f}"
        rows.append([str(start + i * 900_000), *(f"{p / 1e4:.4f}" for p in (price, high, low, close)), volume])
        price = close
    return rows


def scaled(rows, factor):
    return [[f"{float(x) * factor:.4f}" if i in PRICES else x for i, x in enumerate(r)] for r in rows]


def write(path, rows, header=HEADER):
    path.write_text("\n".join([*([header] if header else []), *(",".join(r) for r in rows)]) + "\n")
    return path


def bring(path, catalog, *more, kind="klines", command=ingest):
    interval = ["--interval", "15m"] if kind == "klines" else []
    where = ["--symbol", "XRPUSDT", "--catalog", str(catalog), "--from", str(path)]
    return command([kind, *where, *interval, *more])


def silent(rows):
    return [[*r[:5], "0"] for r in rows]


def one_row(rows):
    return [*rows[:50], *scaled(rows[50:51], 100), *rows[51:]]


def exchanged(rows):
    return [[r[0], r[4], r[2], r[3], r[1], r[5]] for r in rows]


def closes(rows):
    return [[r[0], *[r[4]] * 4, r[5]] for r in rows]


ALONE = [
    ("no volume", silent, r"f\.csv:2: volume: is 0 in all 200 rows, while the price moves here: mark or index"),
    ("half x100", lambda r: [*r[:100], *scaled(r[100:], 100)], r"f\.csv:102: open: \d+\.\d+ after a close of 2\.\d+"),
    ("half x0.1", lambda r: [*r[:100], *scaled(r[100:], 0.1)], r"f\.csv:102: open: 0\.\d+ after a close of 2\.\d+"),
    ("one row x100", one_row, r"f\.csv:52: open: "),
    ("open and close exchanged", exchanged, r"f\.csv:3: close: every bar closes where the bar before opened"),
    ("closes only", closes, r"f\.csv:2: high: equals low, open and close in all 200 rows"),
]


@pytest.mark.parametrize(("spoil", "words"), [a[1:] for a in ALONE], ids=[a[0] for a in ALONE])
@pytest.mark.parametrize("through", [(), ("--cache-only",)], ids=["raw", "alone"])
def test_a_file_no_market_made_is_refused_and_taken_when_insisted_on(spoil, words, through, tmp_path):
    path = write(tmp_path / "f.csv", spoil(candles()))
    with pytest.raises(DataError, match=words) as e:
        bring(path, tmp_path / "c", *through)
    assert "or --insist; nothing was stored" in str(e.value)
    assert not (tmp_path / "c" / "data").exists()
    assert bring(path, tmp_path / "c", "--insist", *through) == 0
    assert len(load_bars(tmp_path / "c", "XRPUSDT", "15m")) == 200


@pytest.mark.parametrize("seed", range(4))
def test_honest_files_are_taken(seed, tmp_path):
    """Also a market in which nothing happens, a fall to a third in one bar, and holes of more than a week."""
    rows = candles(seed=seed)
    later = candles(start=START + 400 * 900_000 + 8 * 24 * HOURS, price=900, seed=seed)
    dead = [[str(START - (40 - i) * 900_000), *["2.4000"] * 4, "0"] for i in range(40)]
    fallen = [*dead, *rows[:100], *scaled(rows[100:], 0.34), *later]
    assert bring(write(tmp_path / "f.csv", fallen), tmp_path / "c") == 0
    made = sheet("klines", seed)
    (tmp_path / "XRPUSDT-1m-2025-03-05.csv").write_text("\n".join(made.lines()) + "\n")
    where = ["--catalog", str(tmp_path / "m"), "--from", str(tmp_path / "XRPUSDT-1m-2025-03-05.csv")]
    assert ingest(["klines", "--symbol", "XRPUSDT", "--interval", "1m", *where]) == 0


@pytest.mark.parametrize("column", ["volume", "prices"])
def test_turnover_tells_another_unit(column, tmp_path):
    made = sheet("klines", 1)
    names = ("volume", "taker_buy_volume") if column == "volume" else ("open", "high", "low", "close")
    for row in made.rows:
        for name in names:
            row[made.at(name)] = f"{float(row[made.at(name)]) * 1_000:.{1 if column == 'volume' else 4}f}"
    path = tmp_path / "XRPUSDT-1m-2025-03-05.csv"
    path.write_text("\n".join(made.lines()) + "\n")
    where = ["--symbol", "XRPUSDT", "--interval", "1m", "--catalog", str(tmp_path / "c"), "--from", str(path)]
    with pytest.raises(DataError, match=r"quote_volume: prices times volumes are 1e\+03 times it in every row"):
        ingest(["klines", *where])
    assert ingest(["klines", *where, "--insist"]) == 0


@pytest.fixture(name="stored", scope="module")
def stored_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    assert bring(write(folder / "f.csv", candles()), folder / "c") == 0
    return folder


@pytest.mark.parametrize(
    ("start", "factor", "options", "words"),
    [
        (200, 100, (), r"row 1 \(2025-03-10T02:00:00Z\): open: \d+\.\d+, and 2\.\d+ is stored beside it, a factor of"),
        (-200, 1_000, (), r"row 200 \(2025-03-07T23:45:00Z\): close: \d+\.\d+, and 2\.\d+ is stored beside it"),
        (300, 0.01, (), r"row 1 .*open: 0\.0\d+, and 2\.\d+ is stored beside it"),
        (50, 10, (), r"row 1 .*close: \d+\.\d+, and 2\.\d+ is stored for that time, a factor of"),
        (50, 0.01, ("--replace",), r"row 1 .*close: 0\.0\d+, and 2\.\d+ is stored for that time"),
    ],
    ids=["after", "before", "after a hole", "over", "over, replacing"],
)
@pytest.mark.parametrize("through", [(), ("--cache-only",)], ids=["raw", "alone"])
def test_a_unit_other_than_the_stored_one_is_refused(start, factor, options, words, through, stored, tmp_path):
    shutil.copytree(stored, tmp_path / "s")
    price = round(float(candles()[0 if start < 0 else -1][4]) * 1e4)
    rows = scaled(candles(start=START + start * 900_000, price=price, seed=5), factor)
    path = write(tmp_path / "n.csv", rows)
    with pytest.raises(DataError, match=words):
        bring(path, tmp_path / "s" / "c", *options, *through)
    assert len(load_bars(tmp_path / "s" / "c", "XRPUSDT", "15m")) == 200
    assert bring(path, tmp_path / "s" / "c", "--insist", "--replace", *through) == 0


def test_files_of_one_command_are_held_against_each_other(tmp_path):
    one = write(tmp_path / "1.csv", candles())
    two = write(tmp_path / "2.csv", scaled(candles(start=START + 200 * 900_000, seed=4), 100))
    where = ["--symbol", "XRPUSDT", "--interval", "15m", "--catalog", str(tmp_path / "c")]
    with pytest.raises(DataError, match=r"2\.csv: row 1 .*a factor of"):
        ingest(["klines", *where, "--from", str(two), str(one)])


def test_imports_follow_the_same_rules(tmp_path):
    (tmp_path / "map.yaml").write_text(
        "columns: {open_time: t, open: o, high: h, low: l, close: c, volume: v}\nseparator: ','\n"
    )
    path = write(tmp_path / "f.csv", silent(candles()), "t,o,h,l,c,v")
    more = ["--mapping", str(tmp_path / "map.yaml")]
    with pytest.raises(DataError, match="volume: is 0 in all 200 rows"):
        bring(path, tmp_path / "c", *more, command=imports)
    assert bring(path, tmp_path / "c", *more, "--insist", command=imports) == 0


class TestFunding:
    def settled(self, rate, hours="8"):
        rows = [[str(START + i * 8 * HOURS), hours, f"{rate * (1 + i % 3):.6f}"] for i in range(30)]
        return rows, "calc_time,funding_interval_hours,last_funding_rate"

    def test_percentages(self, tmp_path):
        path = write(tmp_path / "f.csv", *self.settled(0.01))
        with pytest.raises(DataError, match=r"f\.csv:2: last_funding_rate: the usual rate is 2\.000% .* divide by 100"):
            bring(path, tmp_path / "c", kind="funding")
        assert bring(path, tmp_path / "c", "--insist", kind="funding") == 0
        assert len(load_funding(tmp_path / "c", "XRPUSDT")) == 30

    def test_hours_that_the_times_contradict(self, tmp_path, capsys):
        assert bring(write(tmp_path / "f.csv", *self.settled(0.0001, "4")), tmp_path / "c", kind="funding") == 0
        assert "funding_interval_hours contradicts the times of 29 rows, which are mostly 8 hours" in (
            capsys.readouterr().out
        )
        assert bring(write(tmp_path / "g.csv", *self.settled(0.0001)), tmp_path / "d", kind="funding") == 0
        assert "contradicts" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [("<html><body>404</body></html>", r"a web page \(HTML\), no CSV"), ('{"code":-1121}', "JSON, no CSV"),
     ('[[1741392000000,"2.4"]]', "JSON, no CSV")],
)  # fmt: skip
def test_answers_saved_as_csv_are_named(text, words, tmp_path):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(DataError, match=f"content: {words}"):
        bring(tmp_path / "f.csv", tmp_path / "c")
