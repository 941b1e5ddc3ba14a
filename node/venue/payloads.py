"""REST answers with the exchange's field names, types and number formats (decimals are strings)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from node.venue.account import Account, SymbolMargin
from node.venue.books import AlgoOrder, Books, Fill, Income, Order, Position
from node.venue.events import amount_text
from node.venue.instruments import Instrument

type Json = dict[str, Any]


class PayloadFactory:
    """Builds answers about one account."""

    def __init__(
        self,
        books: Books,
        instruments: Mapping[str, Instrument],
        account: Account,
        prices: Mapping[str, Decimal],
    ) -> None:
        self._books = books
        self._instruments = instruments
        self._account = account
        self._prices = prices

    def order(self, order: Order, *, acknowledged: bool = False) -> Json:
        """Return an order; `acknowledged` gives the answer of POST without ``newOrderRespType=RESULT``."""
        instrument = self._instruments[order.symbol]
        executed = Decimal(0) if acknowledged else order.executed
        average = order.average if executed else Decimal(0)
        return {
            "orderId": order.order_id,
            "symbol": order.symbol,
            "status": "NEW" if acknowledged else order.status,
            "clientOrderId": order.client_order_id,
            "price": instrument.price_text(order.price),
            "avgPrice": f"{average:.{instrument.price_digits + 3}f}",
            "origQty": instrument.quantity_text(order.quantity),
            "executedQty": instrument.quantity_text(executed),
            "cumQty": instrument.quantity_text(executed),
            "cumQuote": f"{average * executed:.5f}",
            "timeInForce": order.time_in_force,
            "type": order.kind,
            "reduceOnly": order.reduce_only,
            "closePosition": order.close_position,
            "side": order.side,
            "positionSide": order.position_side,
            "stopPrice": instrument.price_text(Decimal(0)),
            "workingType": order.working_type,
            "priceProtect": False,
            "origType": order.kind,
            "priceMatch": order.price_match,
            "selfTradePreventionMode": order.prevention,
            "goodTillDate": order.good_till_ms,
            "time": order.created_ms,
            "updateTime": order.updated_ms,
        }

    def algo(self, algo: AlgoOrder) -> Json:
        """Return an algo order."""
        instrument = self._instruments[algo.symbol]
        row: Json = {
            "algoId": algo.algo_id,
            "clientAlgoId": algo.client_algo_id,
            "algoType": "CONDITIONAL",
            "orderType": algo.kind,
            "symbol": algo.symbol,
            "side": algo.side,
            "positionSide": algo.position_side,
            "timeInForce": algo.time_in_force,
            "quantity": "" if algo.close_position else instrument.quantity_text(algo.quantity),
            "algoStatus": algo.status,
            "actualOrderId": str(algo.order_id) if algo.order_id else "",
            "actualPrice": instrument.price_text(algo.average),
            "actualQty": instrument.quantity_text(algo.executed),
            "actualType": ("LIMIT" if algo.is_limit else "MARKET") if algo.order_id else "",
            "triggerPrice": instrument.price_text(algo.trigger_price),
            "price": instrument.price_text(algo.price),
            "icebergQuantity": None,
            "tpTriggerPrice": instrument.price_text(Decimal(0)),
            "tpPrice": instrument.price_text(Decimal(0)),
            "slTriggerPrice": instrument.price_text(Decimal(0)),
            "slPrice": instrument.price_text(Decimal(0)),
            "tpOrderType": "",
            "selfTradePreventionMode": algo.prevention,
            "workingType": algo.working_type,
            "priceMatch": algo.price_match,
            "closePosition": algo.close_position,
            "priceProtect": algo.price_protect,
            "reduceOnly": algo.reduce_only,
            "createTime": algo.created_ms,
            "updateTime": algo.updated_ms,
            "triggerTime": algo.trigger_ms,
            "goodTillDate": algo.good_till_ms,
        }
        if algo.callback_rate is not None:
            row["callbackRate"] = str(algo.callback_rate)
            row["activatePrice"] = instrument.price_text(algo.activation_price or algo.trigger_price)
        return row

    def trade(self, fill: Fill) -> Json:
        """Return a row of userTrades."""
        instrument = self._instruments[fill.symbol]
        return {
            "symbol": fill.symbol,
            "id": fill.trade_id,
            "orderId": fill.order_id,
            "side": fill.side,
            "price": instrument.price_text(fill.price),
            "qty": instrument.quantity_text(fill.quantity),
            "realizedPnl": amount_text(fill.realised),
            "quoteQty": f"{fill.price * fill.quantity:.8f}",
            "commission": amount_text(fill.commission),
            "commissionAsset": "USDT",
            "time": fill.wall_ms,
            "positionSide": fill.position_side,
            "maker": fill.maker,
            "buyer": fill.side == "BUY",
        }

    def income(self, income: Income) -> Json:
        """Return a row of the income history."""
        return {
            "symbol": income.symbol,
            "incomeType": income.kind,
            "income": amount_text(income.amount),
            "asset": "USDT",
            "time": income.wall_ms,
            "info": income.info,
            "tranId": income.transaction_id,
            "tradeId": str(income.trade_id) if income.trade_id else "",
        }

    def position_risk(self, position: Position, *, version: int) -> Json:
        """Return a row of ``/fapi/v2/positionRisk`` or ``/fapi/v3/positionRisk``."""
        instrument = self._instruments[position.symbol]
        margin = self._account.symbol(position.symbol, position.position_side)
        liquidation = self._account.liquidation_price(position)
        row: Json = {
            "symbol": position.symbol,
            "positionSide": position.position_side,
            "positionAmt": instrument.quantity_text(position.quantity),
            "entryPrice": _exact(position.entry_price),
            "breakEvenPrice": _exact(position.break_even()),
            "markPrice": amount_text(self._prices.get(position.symbol, Decimal(0))),
            "unRealizedProfit": amount_text(margin.unrealised),
            "liquidationPrice": amount_text(liquidation) if liquidation else "0",
            "isolatedMargin": amount_text(position.isolated_wallet + margin.unrealised) if position.isolated else "0",
            "notional": amount_text(margin.notional),
            "isolatedWallet": amount_text(position.isolated_wallet) if position.isolated else "0",
            "updateTime": position.updated_ms,
        }
        if version == 2:
            row |= {
                "leverage": str(position.leverage),
                "maxNotionalValue": f"{instrument.max_notional(position.leverage):f}",
                "marginType": "cross" if position.margin_type == "CROSSED" else "isolated",
                "isAutoAddMargin": "false",
            }
        else:
            row |= {
                "marginAsset": "USDT",
                "initialMargin": amount_text(margin.position_initial + margin.order_initial),
                "maintMargin": amount_text(margin.maintenance),
                "positionInitialMargin": amount_text(margin.position_initial),
                "openOrderInitialMargin": amount_text(margin.order_initial),
                "adl": self._account.quantile(position),
                "bidNotional": _exact(margin.bid_notional),
                "askNotional": _exact(margin.ask_notional),
            }
        return row

    def _changed_ms(self) -> int:
        """Return when the wallet last changed, wall, UTC ms; never 0, which clients take for a wallet not there."""
        return self._books.incomes[-1].wall_ms if self._books.incomes else self._books.opened_ms

    def account(self, *, version: int) -> Json:
        """Return ``/fapi/v2/account`` or ``/fapi/v3/account``."""
        totals = self._account.totals()
        figures = {
            "walletBalance": amount_text(self._books.wallet),
            "unrealizedProfit": amount_text(totals.unrealised),
            "marginBalance": amount_text(totals.margin_balance),
            "maintMargin": amount_text(totals.maintenance),
            "initialMargin": amount_text(totals.position_initial + totals.order_initial),
            "positionInitialMargin": amount_text(totals.position_initial),
            "openOrderInitialMargin": amount_text(totals.order_initial),
            "crossWalletBalance": amount_text(self._books.cross_wallet),
            "crossUnPnl": amount_text(totals.cross_unrealised),
            "availableBalance": amount_text(totals.available),
            "maxWithdrawAmount": amount_text(min(totals.available, max(self._books.wallet, Decimal(0)))),
        }
        updated = self._changed_ms()
        asset: Json = {"asset": "USDT", **figures, "updateTime": updated}
        answer: Json = {
            "totalInitialMargin": figures["initialMargin"],
            "totalMaintMargin": figures["maintMargin"],
            "totalWalletBalance": figures["walletBalance"],
            "totalUnrealizedProfit": figures["unrealizedProfit"],
            "totalMarginBalance": figures["marginBalance"],
            "totalPositionInitialMargin": figures["positionInitialMargin"],
            "totalOpenOrderInitialMargin": figures["openOrderInitialMargin"],
            "totalCrossWalletBalance": figures["crossWalletBalance"],
            "totalCrossUnPnl": figures["crossUnPnl"],
            "availableBalance": figures["availableBalance"],
            "maxWithdrawAmount": figures["maxWithdrawAmount"],
            "assets": [asset],
            "positions": [],
        }
        if version == 2:
            asset["marginAvailable"] = True
            answer = {
                "feeTier": 0,
                "feeBurn": self._books.fee_burn,
                "canTrade": True,
                "canDeposit": True,
                "canWithdraw": False,
                "updateTime": updated,
                "multiAssetsMargin": self._books.multi_assets,
                "tradeGroupId": -1,
                **answer,
            }
        for position in self._books.all_positions():
            if version == 2 or position.quantity:
                margin = self._account.symbol(position.symbol, position.position_side)
                answer["positions"].append(self._account_position(position, margin, version=version))
        return answer

    def _account_position(self, position: Position, margin: SymbolMargin, *, version: int) -> Json:
        instrument = self._instruments[position.symbol]
        row: Json = {
            "symbol": position.symbol,
            "initialMargin": amount_text(margin.position_initial + margin.order_initial),
            "maintMargin": amount_text(margin.maintenance),
            "unrealizedProfit": amount_text(margin.unrealised),
            "positionSide": position.position_side,
            "positionAmt": instrument.quantity_text(position.quantity),
            "isolatedWallet": amount_text(position.isolated_wallet) if position.isolated else "0",
            "notional": amount_text(margin.notional),
            "updateTime": position.updated_ms,
        }
        if version == 2:
            row |= {
                "positionInitialMargin": amount_text(margin.position_initial),
                "openOrderInitialMargin": amount_text(margin.order_initial),
                "leverage": str(position.leverage),
                "isolated": position.margin_type == "ISOLATED",
                "entryPrice": _exact(position.entry_price),
                "breakEvenPrice": _exact(position.break_even()),
                "maxNotional": f"{instrument.max_notional(position.leverage):f}",
                "bidNotional": _exact(margin.bid_notional),
                "askNotional": _exact(margin.ask_notional),
            }
        else:
            isolated = position.isolated_wallet + margin.unrealised
            row["isolatedMargin"] = amount_text(isolated) if position.isolated else "0"
        return row

    def balance(self) -> list[Json]:
        """Return ``/fapi/v2/balance`` and ``/fapi/v3/balance``."""
        totals = self._account.totals()
        wallet = amount_text(self._books.wallet)
        return [
            {
                "accountAlias": "FzFzmYfWuXuXfW",
                "asset": "USDT",
                "balance": wallet,
                "crossWalletBalance": amount_text(self._books.cross_wallet),
                "crossUnPnl": amount_text(totals.cross_unrealised),
                "availableBalance": amount_text(totals.available),
                "maxWithdrawAmount": amount_text(min(totals.available, max(self._books.wallet, Decimal(0)))),
                "marginAvailable": True,
                "updateTime": self._changed_ms(),
            },
        ]


def _exact(value: Decimal) -> str:
    """Return a decimal without exponent and without needless zeros, at most eight digits after the point."""
    text = f"{value:.8f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
