"""Funding and liquidation in the real engine: amounts by hand, and an account that never ends below zero."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.identifiers import Venue

from catalog.ingest import main as ingest
from node.simulation.modules import (
    FundingConfig,
    LiquidationConfig,
    VenueModule,
    VenueModuleConfig,
)
from strategies.records import FundingRecord, IncidentRecord
from tests.strategies.engine_kit import BAR_NS, START, Run, close_of

FAR_LONG = {0: ("LONG", 0.5, 1.9)}
FAR_SHORT = {0: ("SHORT", 1.9, 0.5)}


@pytest.fixture(name="catalog")
def catalog_fixture(tmp_path):
    """Return a function that writes settlements ``{time ns: rate}`` into a catalog and returns its directory."""

    def write(settlements):
        file = tmp_path / "funding.csv"
        rows = [f"{time // 1_000_000},{rate}" for time, rate in settlements.items()]
        file.write_text("calc_time,last_funding_rate\n" + "\n".join(rows) + "\n")
        assert not ingest(["funding", "--symbol", "XRPUSDT", "--from", str(file), "--catalog", str(tmp_path / "c")])
        return str(tmp_path / "c")

    return write


def funding_module(catalog):
    config = FundingConfig(catalog=catalog, symbols=("XRPUSDT",), start_ns=0, end_ns=START + 10**18)
    return VenueModule(VenueModuleConfig(funding=config))


def charged(run):
    return [(r.id, Decimal(repr(r.amount))) for r in run.records if isinstance(r, FundingRecord)]


def balance(run):
    return run.cache.account_for_venue(Venue("BINANCE")).balance_total(USDT).as_decimal()


class TestFunding:
    """Settlements fall on full hours: on the closes of bars 3, 7, 11, ..."""

    @pytest.mark.parametrize(
        ("script", "rate", "amount"),
        [
            (FAR_LONG, "0.00010000", "-0.0101"),  # 100 * 1.01 * 0.0001, a long pays a positive rate
            (FAR_SHORT, "0.00010000", "0.0101"),
            (FAR_LONG, "-0.00037500", "0.037875"),
            (FAR_SHORT, "-0.00037500", "-0.037875"),
        ],
    )
    def test_amount_and_sign(self, catalog, script, rate, amount):
        module = funding_module(catalog({close_of(3): rate}))
        run = Run([1.0, 1.0, 1.0, 1.01, 1.0], script, modules=[module]).go()
        assert charged(run) == [(f"XRPUSDT/{close_of(3) // 1_000_000}", Decimal(amount))]
        assert balance(run) == Decimal(10_000) - Decimal("0.05") + Decimal(amount)

    def test_a_position_opened_on_that_close_is_not_charged_one_closed_on_it_is(self, catalog):
        script = {3: ("LONG", 0.5, 1.9), 7: ("SHORT", 1.9, 0.5)}
        times = {close_of(3): "0.0001", close_of(7): "0.0002"}
        run = Run([1.0] * 9, script, modules=[funding_module(catalog(times))]).go()
        assert charged(run) == [(f"XRPUSDT/{close_of(7) // 1_000_000}", Decimal("-0.02"))]

    def test_a_position_stopped_inside_the_bar_is_not_charged_at_its_close(self, catalog):
        module = funding_module(catalog({close_of(3): "0.01"}))
        run = Run([1.0, 1.0, 1.0, (1.0, 1.0, 0.97, 1.0), 1.0], {0: ("LONG", 0.98, 1.9)}, modules=[module]).go()
        assert [leg for leg, *_ in run.fills] == ["ENTRY", "STOP"]
        assert charged(run) == []

    def test_some_ms_of_delay_in_the_file_change_nothing(self, catalog):
        times = {close_of(3) + 7_000_000: "0.0001", close_of(7) + 12_000_000: "0.0002"}
        run = Run([1.0] * 9, FAR_LONG, modules=[funding_module(catalog(times))]).go()
        assert charged(run) == [
            (f"XRPUSDT/{close_of(3) // 1_000_000}", Decimal("-0.01")),
            (f"XRPUSDT/{close_of(7) // 1_000_000}", Decimal("-0.02")),
        ]

    def test_settlements_of_missing_bars_are_charged_on_the_next(self, catalog):
        times = {close_of(3): "0.0001", close_of(7): "0.0002", close_of(11): "0.0004"}
        modules = [funding_module(catalog(times))]
        run = Run([1.0] * 14, FAR_LONG, modules=modules, skip=range(2, 8)).go()
        assert [amount for _, amount in charged(run)] == [Decimal("-0.01"), Decimal("-0.02"), Decimal("-0.04")]
        assert [r.market_time for r in run.records if isinstance(r, FundingRecord)] == [
            close_of(8),
            close_of(8),
            close_of(11),
        ]

    def test_what_settled_before_the_first_bar_is_nobodys(self, catalog):
        times = {START - 32 * BAR_NS: "0.005", START: "0.005", close_of(3): "0.0001"}
        run = Run([1.0] * 5, FAR_LONG, modules=[funding_module(catalog(times))]).go()
        assert [amount for _, amount in charged(run)] == [Decimal("-0.01")]

    def test_a_reset_engine_charges_the_same_again(self, catalog):
        run = Run([1.0] * 5, FAR_LONG, modules=[funding_module(catalog({close_of(3): "0.0001"}))]).go()
        first, end = charged(run), balance(run)
        assert first
        run.records.clear()
        run.engine.reset()
        run.go()
        assert charged(run) == first
        assert balance(run) == end

    def test_flat_accounts_pay_nothing(self, catalog):
        run = Run([1.0] * 5, {}, modules=[funding_module(catalog({close_of(3): "0.0001"}))]).go()
        assert charged(run) == []
        assert balance(run) == 10_000


def liquidation(**changes):
    fields = {"maintenance": {"XRPUSDT": 0.005}, "fee": 0.0125, "close_cost": 0.0005 + 0.0001}
    return VenueModule(VenueModuleConfig(liquidation=LiquidationConfig(**(fields | changes))))


def incidents(run):
    return [r for r in run.records if isinstance(r, IncidentRecord) and r.code == "liquidation"]


class TestLiquidation:
    def run(self, candles, script, **options):
        """100,000 XRP against 10,000 USDT is ten times the account."""
        fields = {"quantity": "100000", "modules": [liquidation()], "slippage": ("1", "0")}
        run = Run(candles, script, **(fields | options))
        self.control = []
        run.engine.kernel.msgbus.subscribe("argonaut.control", self.control.append)
        return run.go()

    def test_a_short_through_a_spike_ends_at_zero_and_trading_stops(self):
        candles = [1.0, 1.0, (1.0, 1.3, 1.0, 1.2), 1.1, 1.0, 1.0]
        run = self.run(candles, {0: ("SHORT", 1.9, 0.5)})
        assert run.position is None
        assert run.exit_tags() == ["exit:LIQUIDATION"]
        assert 0 <= balance(run) < 20, "nothing is left but what the closing was estimated too dear"
        (incident,) = incidents(run)
        assert incident.severity == "critical"
        assert incident.market_time == close_of(2)
        assert {"action": "kill", "who": "liquidation"} in self.control
        assert run.cache.orders_open() == []

    def test_what_the_worst_price_leaves_minus_the_fee_stays(self):
        # Worst price 1.096: 10,000 - 9,600 - 50 entry fee = 350 <= margin 548; fee 1,370 is more than that: zero.
        # With 80,000: 10,000 - 40 - 8 slippage - 0.12 * 80,000 = 352 <= 448, fee 0.001 * 89,600 = 89.6 leaves 262.4.
        candles = [1.0, (1.0, 1.12, 1.0, 1.05), 1.05]
        run = self.run(candles, {0: ("SHORT", 1.9, 0.5)}, quantity="80000", modules=[liquidation(fee=0.001)])
        entry = run.fills[0][3]
        left = 10_000 - 80_000 * entry * 0.0005 - (1.12 - entry) * 80_000 - 80_000 * 1.12 * 0.001
        assert len(incidents(run)) == 1
        assert left <= balance(run) <= left + 20

    @pytest.mark.parametrize(
        ("script", "candle"),
        [({0: ("SHORT", 1.9, 0.5)}, (1.0, 1.08, 1.0, 1.0)), ({0: ("LONG", 0.5, 1.9)}, (1.0, 1.0, 0.92, 1.0))],
    )
    def test_equity_above_maintenance_margin_lives(self, script, candle):
        run = self.run([1.0, candle, 1.0], script)
        assert incidents(run) == []
        assert float(run.position.quantity) == 100_000

    def test_a_spike_on_the_last_bar_does_not_end_below_zero(self):
        run = self.run([1.0, (1.0, 1.4, 1.0, 1.35)], {0: ("SHORT", 1.9, 0.5)})
        assert len(incidents(run)) == 1
        assert run.position is None
        assert balance(run) >= 0

    def test_a_stop_that_gaps_beyond_the_account_is_carried_and_said(self):
        run = self.run([1.0, (0.8, 0.82, 0.79, 0.8), 0.8], {0: ("LONG", 0.98, 1.04)})
        assert run.exit_tags() == ["exit:STOP_LOSS"]
        assert balance(run) == 0
        assert len(incidents(run)) == 1

    def test_one_incident_however_long_the_run_goes_on(self):
        script = {0: ("SHORT", 1.9, 0.5), 4: ("LONG", 0.5, 1.9)}
        run = self.run([1.0, (1.0, 1.3, 1.0, 1.2), 1.0, 1.0, 1.0, 1.0], script, refuse=(4,))
        assert len(incidents(run)) == 1
        assert [c["action"] for c in self.control] == ["liquidate", "kill"]

    def test_a_reset_engine_liquidates_again(self):
        run = self.run([1.0, (1.0, 1.3, 1.0, 1.2), 1.0], {0: ("SHORT", 1.9, 0.5)})
        end = balance(run)
        run.engine.reset()
        run.records.clear()
        run.go()
        assert len(incidents(run)) == 1
        assert balance(run) == end

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32), st.sampled_from(["LONG", "SHORT"]), st.integers(20, 190))
    def test_the_account_never_ends_below_zero(self, seed, side, thousands):
        rng = np.random.default_rng(seed)
        candles, close = [1.0], 1.0
        for _ in range(6):
            opened = max(0.1, round(close * float(np.exp(rng.normal(0, 0.05))), 4))
            close = max(0.1, round(opened * float(np.exp(rng.normal(0, 0.1))), 4))
            high, low = max(opened, close) * 1.05, min(opened, close) * 0.95
            candles.append((opened, round(high, 4), round(low, 4), close))
        stop, target = (0.97, 9.0) if side == "LONG" else (1.03, 0.01)
        run = self.run(candles, {0: (side, stop, target)}, quantity=str(thousands * 1000))
        total = balance(run)
        position = run.position
        unrealized = 0.0
        if position is not None:
            sign = 1 if side == "LONG" else -1
            unrealized = sign * float(position.quantity) * (close - position.avg_px_open)
        assert total + Decimal(repr(unrealized)) >= 0, (seed, side, thousands)
