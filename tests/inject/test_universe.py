"""The universe on the deterministic runtime; the gateway is a probe."""

from __future__ import annotations

from typing import Any

from config.settings import load
from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import RulesLoaded, UniverseChosen
from qt_actors.messages.requests import RulesLoadRequested, UniverseRequested
from qt_actors.messages.system import IncidentSeen, VenueLost, VenueReady
from qt_actors.minds.universe import Universe, UniverseWiring
from tests.builders import some_rules

NOW = 1_750_000_000_000
PATH = "root/universe"
LOADED = RulesLoaded(
    rules=tuple(some_rules(symbol) for symbol in ("ETHUSDT", "BTCUSDT", "DEADUSDT")),
    quote_volume_24h_usd={"BTCUSDT": 9e9, "ETHUSDT": 5e9, "DEADUSDT": 0.0},
)


class House:
    """A universe between a gateway and two listeners."""

    def __init__(self, requested: tuple[str, ...] | None = None) -> None:
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.probes = {name: Probe(self.runtime, f"root/{name}") for name in ("gateway", "feed", "web", "recorder")}
        self.gateway, self.feed = self.probes["gateway"], self.probes["feed"]
        wiring = UniverseWiring(
            gateway=self.runtime.address("root/gateway"),
            listeners=(self.runtime.address("root/feed"),),
            recorder=self.runtime.address("root/recorder"),
            settings=load(None, {}),
            requested=requested,
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("universe", lambda: Universe(wiring)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()

    def tell(self, message: object) -> None:
        self.runtime.address(PATH).tell(message)
        self.runtime.run_until_idle()

    def asked(self) -> int:
        return sum(isinstance(m, RulesLoadRequested) for m in self.gateway.heard)

    def statistics(self) -> Any:
        return next(state.statistics for state in self.runtime.tree() if state.path == PATH)


def test_the_universe_is_chosen_once_and_told_to_all() -> None:
    house = House()
    assert house.gateway.expect(RulesLoadRequested).reply_to == PATH
    house.tell(LOADED)
    chosen = house.feed.expect(UniverseChosen)
    assert chosen.symbols == ("BTCUSDT", "ETHUSDT")
    assert chosen.refused["DEADUSDT"].startswith("frozen")
    house.tell(LOADED)
    house.feed.expect_none(for_ms=120_000)
    assert house.asked() == 1
    assert house.statistics() == {"symbols": 2, "refused": 1, "listed": 3}


def test_only_the_symbols_asked_for_are_traded_with_bitcoin_as_reference() -> None:
    house = House(requested=("ETHUSDT", "NOSUCHUSDT"))
    house.tell(LOADED)
    chosen = house.feed.expect(UniverseChosen)
    assert chosen.symbols == ("BTCUSDT", "ETHUSDT")
    assert {rules.symbol for rules in chosen.rules} == {"BTCUSDT", "ETHUSDT", "DEADUSDT"}
    assert chosen.refused == {"NOSUCHUSDT": "not listed by the exchange"}


def test_a_lost_venue_is_asked_again_with_growing_pauses_and_at_once_when_it_is_back() -> None:
    house = House()
    for _ in range(3):
        before = house.asked()
        house.tell(VenueLost(reason="down"))
        assert house.asked() == before
        house.runtime.run_until(lambda n=before: house.asked() > n, 60_000)
    house.tell(VenueLost(reason="down"))
    before = house.asked()
    house.tell(VenueReady(clock_offset_ms=0))
    assert house.asked() == before + 1


def test_a_question_without_an_answer_is_repeated() -> None:
    house = House()
    house.runtime.run_for(31_000)
    assert house.asked() == 2


def test_an_empty_universe_is_said_with_its_reasons_and_looked_at_again() -> None:
    house = House()
    house.tell(RulesLoaded(rules=(some_rules("BTCUSDT", status="CLOSE"),), quote_volume_24h_usd={}))
    incident = house.probes["recorder"].expect(IncidentSeen)
    assert "BTCUSDT: status CLOSE" in incident.detail
    house.feed.expect_none()
    house.runtime.run_for(2_000)
    house.tell(LOADED)
    house.feed.expect(UniverseChosen)


def test_whoever_was_restarted_may_ask_for_it() -> None:
    house = House()
    web = house.probes["web"]
    web.tell(PATH, UniverseRequested(reply_to="root/web"))
    house.runtime.run_until_idle()
    web.expect_none()
    house.tell(LOADED)
    assert web.expect(UniverseChosen).symbols == ("BTCUSDT", "ETHUSDT")
    web.tell(PATH, UniverseRequested(reply_to="root/web"))
    assert web.expect(UniverseChosen).symbols == ("BTCUSDT", "ETHUSDT")
    house.feed.expect(UniverseChosen)
    house.feed.expect_none()


def test_after_a_crash_the_same_rules_choose_the_same_symbols() -> None:
    house = House()
    house.tell(LOADED)
    first = house.feed.expect(UniverseChosen)
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell("poison")
    house.runtime.run_for(2_000)
    assert house.asked() == 2
    house.tell(LOADED)
    assert house.feed.expect(UniverseChosen) == first
