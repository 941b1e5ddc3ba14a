"""Order, random entries, delay, months, costs, regimes, parameters: the lucky are named, the sound stand."""

import itertools

import numpy as np
import pytest

from research.doubt.exits import ExitRules, Prices, simulate
from research.doubt.luck import (
    Entries,
    examine_costs,
    examine_delay,
    examine_months,
    examine_order,
    examine_random_entries,
    random_entries,
)
from research.doubt.regimes import DAY_NS, daily_closes, examine_regimes, tercile_of, terciles
from research.doubt.stability import examine_choices, examine_stability, neighbourhood
from research.labels import LabelConfig, Outcome, SignalBars, label_signals

RULES = ExitRules(1.5, 3.0, 0.0001, 0.0005)


@pytest.fixture(name="prices", scope="module")
def prices_fixture():
    random = np.random.default_rng(31)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.003, 8_000)))
    opened = np.concatenate([[100.0], close[:-1]])
    wick = 0.002 * close * random.random((2, len(close)))
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    return Prices(opened, high, low, close, 0.004 * close)


def foreseen(prices, count=120):
    """Return entries that know whether the target or the stop comes first."""
    at = np.sort(np.random.default_rng(2).choice(len(prices.close) - 200, count, replace=False))
    longs = simulate(prices, at, np.ones(count, int), RULES._replace(slippage=0.0, fee=0.0))
    good = dict(zip(longs.entry.tolist(), (longs.net_r > 0).tolist(), strict=True))
    return Entries(prices, at, np.array([1 if good.get(i, True) else -1 for i in at]), RULES, 100)


class TestExits:
    def test_the_same_as_the_labels_of_the_data_set(self, prices):
        """One position at a time apart, both follow the same rules."""
        random = np.random.default_rng(5)
        at = np.arange(50, 7_800, 155)
        side = random.choice([-1, 1], len(at))
        labels = label_signals(
            (prices.open, prices.high, prices.low, prices.close), SignalBars(at, side, prices.atr[at]), (1.5, 3.0),
            LabelConfig(horizon_bars=5_000, slippage=0.0001, fee=0.0005),
        )  # fmt: skip
        compared = 0
        for i in range(len(at)):
            found = simulate(prices, at[i : i + 1], side[i : i + 1], RULES)
            if labels.outcome[i] == Outcome.UNRESOLVED:
                assert len(found.net_r) == 0
                continue
            assert found.exit[0] == labels.end[i]
            assert found.net_r[0] == pytest.approx(labels.net_r[i], rel=1e-12)
            compared += 1
        assert compared > 40

    def test_one_position_at_a_time(self, prices):
        found = simulate(prices, np.arange(10, 500), np.ones(490, int), RULES)
        assert (found.entry[1:] > found.exit[:-1]).all()

    def test_time_stop(self, prices):
        found = simulate(prices, np.arange(10, 500, 20), np.ones(25, int), RULES._replace(time_stop=3))
        assert (found.exit - found.entry <= 3).all()


class TestRandomEntries:
    def test_foresight_beats_random(self, prices):
        assert examine_random_entries([foreseen(prices)], seed=1, reps=200).passed is True

    def test_random_entries_do_not(self, prices):
        """The p-values of worthless entries are spread evenly: one in ten lies below 0.1, give or take."""
        values = []
        for seed in range(40):
            random = np.random.default_rng(seed)
            at = np.sort(random.choice(7_000, 60, replace=False)) + 200
            values.append(
                random_entries(
                    [Entries(prices, at, random.choice([-1, 1], 60), RULES, 100)], seed=seed, reps=100
                ).p_value
            )
        assert 0.3 < np.mean(values) < 0.7
        assert np.mean(np.array(values) <= 0.1) <= 0.25

    def test_few_entries(self, prices):
        few = Entries(prices, np.arange(5), np.ones(5, int), RULES)
        assert examine_random_entries([few], seed=1).reason == "too_few"
        assert examine_delay([few], seed=1).reason == "too_few"


class TestDelay:
    def test_an_edge_that_lives_for_one_bar(self):
        """The bar after each entry jumps: entering on it is too late."""
        random = np.random.default_rng(3)
        count = 6_000
        steps = random.normal(0, 0.0005, count)
        at = np.arange(100, count - 100, 40)
        side = random.choice([-1, 1], len(at))
        steps[at + 1] = side * 0.02
        close = 100 * np.exp(np.cumsum(steps))
        opened = np.concatenate([[100.0], close[:-1]])
        prices = Prices(opened, np.maximum(opened, close), np.minimum(opened, close), close, 0.005 * close)
        found = examine_delay([Entries(prices, at, side, RULES)], seed=1, reps=50)
        by_delay = found.figures["mean_r_by_delay"]
        assert by_delay["0"] > 1
        assert max(by_delay["1"], by_delay["2"], by_delay["3"]) < 0.5

    def test_entries_that_pay_on_time_only(self, prices):
        assert examine_delay([foreseen(prices)], seed=1, reps=50).passed is not None

    def test_a_loser_is_not_judged_by_delay(self, prices):
        at = np.arange(100, 7_000, 100)
        paid = RULES._replace(fee=0.01)
        assert examine_delay([Entries(prices, at, np.ones(len(at), int), paid)], seed=1, reps=20).reason == "loses"


class TestOrder:
    def test_a_lucky_order_is_named(self):
        returns = np.tile([0.03, -0.02], 100)  # never two losses in a row
        assert examine_order(returns, seed=1, reps=300).reason == "lucky_order"

    def test_an_ordinary_order_stands(self):
        returns = np.random.default_rng(9).permutation(np.tile([0.03, -0.02], 100))
        assert examine_order(returns, seed=1, reps=300).passed is True


class TestMonthsAndCosts:
    def test_one_month_carries_it(self):
        months = ["2025-01"] * 3 + ["2025-02"] * 3 + ["2025-03"] * 3
        found = examine_months(months, np.array([-1, -1, 1, 9, 9, 9, -2, 1, -1.0]))
        assert (found.reason, found.figures["best_month"]) == ("one_month_carries_it", "2025-02")
        assert examine_months(months, np.full(9, 1.0)).passed is True

    def test_costs(self):
        ones = np.ones(30)
        assert examine_costs(ones, 0.7 * ones, 0.4 * ones).reason == "costs_eat_it"
        assert examine_costs(-0.5 * ones, 0.7 * ones, 0.4 * ones).reason == "costs_eat_it"
        assert examine_costs(-ones, 0.1 * ones, 0 * ones).reason == "loses"
        assert examine_costs(ones, 0.2 * ones, 0.1 * ones).passed is True


class TestRegimes:
    def test_terciles_are_known_at_the_time(self):
        random = np.random.default_rng(10)
        day, close = np.arange(300), 100 * np.exp(np.cumsum(random.normal(0, 0.02, 300)))
        whole = terciles(day, close)
        for cut in (80, 150, 299):
            part = terciles(day[:cut], close[:cut])
            for name in whole:
                known = {d: t for d, t in whole[name].items() if d <= cut}
                assert part[name] == known, f"{name} until {cut}"

    def test_a_days_regime_does_not_know_the_day(self):
        close = 100 * np.exp(np.cumsum(np.random.default_rng(10).normal(0, 0.02, 200)))
        other = close.copy()
        other[150:] *= 3
        before = {d: t for d, t in terciles(np.arange(200), close)["trend"].items() if d <= 150}
        assert before == {d: t for d, t in terciles(np.arange(200), other)["trend"].items() if d <= 150}

    def test_midnight_belongs_to_the_day_before(self):
        day, close = daily_closes(np.array([1, DAY_NS, DAY_NS + 1]), np.array([1.0, 2.0, 3.0]))
        assert (day.tolist(), close.tolist()) == ([0, 1], [2.0, 3.0])

    def test_one_regime_pays(self):
        of = np.repeat([0, 1, 2], 20)
        assert examine_regimes({"trend": of}, np.where(of == 2, 5.0, -1.0))[0].reason == "one_regime"
        assert examine_regimes({"trend": of}, np.ones(60))[0].passed is True
        assert examine_regimes({"trend": of - 1}, np.ones(60))[0].figures["unknown"] == 20
        assert tercile_of({"trend": {3: 2}}, np.array([3 * DAY_NS, DAY_NS]))["trend"].tolist() == [2, -1]


GRID = [{"stop": s, "target": t} for s in (1.0, 1.5, 2.0, 2.5) for t in (2.0, 3.0, 4.0)]
CHOSEN = {"stop": 1.5, "target": 3.0}


class TestStability:
    def test_a_plateau_stands_and_a_spike_falls(self):
        plateau = [1.0 - 0.1 * abs(g["stop"] - 1.5) - 0.1 * abs(g["target"] - 3) for g in GRID]
        assert examine_stability(GRID, plateau, CHOSEN).passed is True
        spike = [2.0 if g == CHOSEN else -0.5 for g in GRID]
        assert examine_stability(GRID, spike, CHOSEN).reason == "parameter_spike"

    def test_neighbours_are_one_step_away(self):
        found = neighbourhood(GRID, range(12), CHOSEN)
        assert len(found.neighbours) == 8
        assert [v for v, _ in found.by_parameter["stop"]] == [1.0, 1.5, 2.0, 2.5]

    def test_a_set_that_was_not_tried(self):
        with pytest.raises(ValueError, match="not among the sets"):
            neighbourhood(GRID, range(12), {"stop": 9.0, "target": 3.0})

    def test_sets_drawn_at_random_have_neighbours_too(self):
        """No two values are alike, so none lies one step away in all: the nearest fifth does."""
        random = np.random.default_rng(3)
        sets = [{f"p{i}": float(v) for i, v in enumerate(row)} for row in random.random((200, 3))]
        hill = [3.0 - sum((v - 0.5) ** 2 for v in s.values()) for s in sets]
        best = sets[int(np.argmax(hill))]
        found = examine_stability(sets, hill, best)
        assert (found.passed, found.figures["neighbours"]) == (True, 39)
        spike = [5.0 if s is best else float(random.normal(0, 0.5)) for s in sets]
        assert examine_stability(sets, spike, best).reason == "parameter_spike"
        near = neighbourhood(sets, hill, best).neighbours
        assert max(abs(s["p0"] - best["p0"]) for s, _ in near) < 0.7
        assert examine_stability(sets[:20], hill[:20], sets[0]).reason == "too_few"

    def test_the_best_of_losers_stands_on_no_spike(self):
        losers = [-2.0 if s == CHOSEN else -5.0 for s in GRID]
        found = examine_stability(GRID, losers, CHOSEN)
        assert (found.reason, found.figures["kept"]) == ("loses", None)
        spike = [5.0 if s == CHOSEN else -1.0 for s in GRID]
        plateau = [5.0 if s == CHOSEN else 4.0 for s in GRID]

        def of(*figures):
            return examine_choices([GRID] * len(figures), figures, [CHOSEN] * len(figures))

        assert (of(losers, losers, spike).reason, of(losers, spike, spike).reason) == ("loses", "parameter_spike")
        stands = of(losers, plateau, plateau)
        assert (stands.passed, stands.figures["losing"], stands.figures["spikes"]) == (True, 1, 0)

    @pytest.mark.parametrize(("worth", "share"), [("nothing", 0.0), ("spike", 0.0), ("plateau", 1.0)])
    def test_what_it_says_of_noise_spikes_and_plateaus(self, worth, share):
        """Six folds, 81 sets whose figures err together the nearer they lie: which studies stand, of 40."""
        grid = np.array(list(itertools.product(range(3), repeat=4)))
        sets = [{f"p{i}": float(v) for i, v in enumerate(row)} for row in grid]
        near = 0.6 ** np.abs(grid[:, None] - grid[None]).sum(axis=2)
        errors = np.linalg.cholesky(near + 1e-9 * np.eye(81))
        stood = 0
        for seed in range(40):
            random = np.random.default_rng(seed)
            folds = (errors @ random.normal(size=(81, 6))).T
            if worth == "spike":
                folds[:, random.integers(81)] += 4
            folds += 2.0 if worth == "plateau" else 0.0
            best = [sets[int(f.argmax())] for f in folds]
            stood += examine_choices([sets] * 6, [f.tolist() for f in folds], best).passed is True
        assert stood / 40 == pytest.approx(share, abs=0.05)
