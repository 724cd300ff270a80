"""The executor on the deterministic runtime; its neighbours are probes, the journal's past is a list."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec

from qt_actors.decisions import trade_life
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages import orders
from qt_actors.messages.market import UniverseChosen
from qt_actors.messages.policy import Directive, EntryAdmitted
from qt_actors.trading.executor import Executor, ExecutorWiring
from tests.builders import CLOSE_MS, NOW, a_decision, a_plan, order_update, some_rules

PATH = "root/executor"


def word(*, allowed):
    return Directive(
        now_ms=0,
        allow_trades=allowed,
        allow_new_positions=allowed,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL" if allowed else "EMERGENCY",
        reason="all within limits" if allowed else "halted by an operator",
        daily_pnl_usd=D(0),
        daily_loss_limit_usd=D(100),
        gross_notional_usd=D(0),
        gross_limit_usd=D(100),
        losing_streak=0,
        equity_usd=D(1000),
    )


class Past:
    """What the journal remembers."""

    def __init__(self, *trades):
        self.trades = trades
        self.acted = set()
        self.looked_ms = 0

    def open_trades(self):
        return self.trades

    def rows(self, question, parameters=None):
        if question == "equity_last":
            return [{"now_ms": self.looked_ms}] if self.looked_ms else []
        assert question == "intents_of"
        return [{}] if parameters["decision_id"] in self.acted else []


class House:
    """An executor; its neighbours are probes."""

    def __init__(self, *past, recorder_answers=True, spoken=True, looked_ms=0):
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.past = Past(*past)
        self.past.looked_ms = looked_ms
        names = ("gateway", "recorder", "governor", "account", "watcher", "universe")
        self.probes = {name: Probe(self.runtime, f"root/{name}") for name in names}
        if recorder_answers:
            self.probes["recorder"].answers(orders.RecordIntents, lambda m: orders.IntentsRecorded(token=m.token))
        address = {name: self.runtime.address(f"root/{name}") for name in names}
        wiring = ExecutorWiring(
            universe=address["universe"],
            gateway=address["gateway"],
            recorder=address["recorder"],
            governor=address["governor"],
            account=address["account"],
            watchers=(address["watcher"],),
            journal=lambda: self.past,
            adopted_stop_pct=D("0.02"),
        )
        spec = ChildSpec("executor", lambda: Executor(wiring), retry_crashed=False)
        self.runtime.start(SupervisorSpec("root", children=(spec,)))
        assert self.runtime.wait_ready()
        self.gateway, self.recorder, self.governor = (self.probes[n] for n in ("gateway", "recorder", "governor"))
        self.watcher = self.probes["watcher"]
        if spoken:
            self.tell(word(allowed=True))
        self.runtime.run_until_idle()

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_for(0)

    def sent(self, kind):
        return [m for m in self.gateway.heard if isinstance(m, kind)]

    def accept(self, command, status="NEW", executed="0"):
        self.tell(
            orders.OrderAccepted(
                client_id=command.client_id,
                symbol=command.symbol,
                exchange_id=1,
                conditional=isinstance(command, orders.PlaceConditional),
                status=status,
                executed_quantity=D(executed),
            )
        )

    def stand_stop(self):
        self.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
        (stop,) = self.sent(orders.PlaceConditional)
        self.accept(stop)
        return stop

    def stand_stop_of(self, symbol):
        decision = a_decision(symbol=symbol, decision_id=f"{symbol}-{CLOSE_MS}")
        plan = a_plan(symbol=symbol, decision_id=decision.decision_id)
        self.tell(EntryAdmitted(decision=msgspec.structs.replace(decision, plan=plan)))
        self.tell(orders.LeverageSet(symbol=symbol, leverage=10))
        self.accept(self.sent(orders.PlaceConditional)[-1])

    def open(self):
        self.stand_stop()
        (entry,) = self.sent(orders.PlaceOrder)
        trade = trade_life.begin(a_plan(), NOW).trade
        self.tell(order_update(trade, entry.client_id, "FILLED", executed="0.010", trade_id=1, last="0.010"))
        for command in self.sent(orders.PlaceConditional)[1:]:
            self.accept(command)
        return trade


def know_the_rules(house):
    rules = (some_rules(), some_rules("ETHUSDT"))
    house.tell(UniverseChosen(symbols=("BTCUSDT", "ETHUSDT"), rules=rules, refused={}))
