from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.saved_state import Owner, owner_of
from tests.candle_folders import HOUR_MS, MINUTE_MS, START_MS, candles, folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAR = 15 * MINUTE_MS
BEGIN = START_MS + 100 * BAR
STOP_BELOW = {"symbol": "AUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "5", "workingType": "MARK_PRICE"}


STANDS: list[Stand] = []


class Stand:
    """An exchange on a folder, whose time a test moves; nobody closes it, as nobody closes a killed process."""

    def __init__(self, path: Path, **changes: Any) -> None:
        self.real = 0.0
        settings = {"replay": str(path / "candles"), "start_ms": BEGIN, "speed": 1000.0, "detail": 3}
        self.config = ExchangeConfig(**{**settings, "state_path": str(path / "state"), **changes})
        self.exchange = Exchange(
            self.config,
            lambda start, speed: ExchangeClock(start, speed, wall=lambda: self.real, monotonic=lambda: self.real),
        )

        if self.exchange._file is not None:
            STANDS.append(self)

    def go(self, exchange_ms: int) -> None:
        self.real += exchange_ms / 1000.0
        assert self.exchange.step()
        self.exchange.commit()

    def do(self, method: str, **params: str) -> Any:
        return self.exchange.operate(method, params)


@pytest.fixture(autouse=True)
def _no_log_stays_open() -> Iterator[None]:
    yield
    while STANDS:
        STANDS.pop().exchange._file.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder(tmp_path / "candles", ["AUSDT", "BUSDT"], 500)
    return tmp_path


def trade(stand: Stand) -> None:
    """Some orders of several kinds over twelve hours, so that points, stops and funding all play."""
    stand.do("place_order", symbol="AUSDT", side="BUY", type="MARKET", quantity="5")
    price = stand.exchange.market.last[0]
    stand.do(
        "place_algo_order", algoType="CONDITIONAL", triggerPrice=f"{price * 0.99:.2f}", reduceOnly="true", **STOP_BELOW
    )
    for hour in range(12):
        stand.go(HOUR_MS + 1_000 * hour)
        limit = f"{stand.exchange.market.last[1] * (0.998 if hour % 2 else 1.002):.2f}"
        side = "BUY" if hour % 2 else "SELL"
        stand.do("place_order", symbol="BUSDT", side=side, type="LIMIT", timeInForce="GTC", quantity="2", price=limit)


@pytest.mark.parametrize("snapshots", [False, True])
def test_a_killed_exchange_comes_back_exactly_where_it_was_heard_last(place: Path, snapshots: bool) -> None:
    stand = Stand(place)
    trade(stand)
    if snapshots:
        stand.exchange.snapshot()
        stand.go(3 * HOUR_MS + 17)
        stand.do("set_leverage", symbol="BUSDT", leverage="7")
    account = stand.exchange.engine.save()
    now = stand.exchange.market.now_ms
    back = Stand(place)  # the first one was never closed: only its files count
    assert back.exchange.market.now_ms == now
    assert back.exchange.engine.save() == account
    for one in (stand, back):
        one.go(5 * HOUR_MS)
        one.do("place_order", symbol="AUSDT", side="BUY", type="MARKET", quantity="1")
    assert back.exchange.engine.save() == stand.exchange.engine.save(), "and goes on as the other would have"


def test_time_without_trades_is_not_walked_twice(place: Path) -> None:
    stand = Stand(place)
    stand.go(10 * HOUR_MS)
    assert Stand(place).exchange.market.now_ms == BEGIN + 10 * HOUR_MS


def test_a_log_broken_off_in_the_middle_counts_as_far_as_it_is_whole(place: Path) -> None:
    stand = Stand(place)
    trade(stand)
    account = stand.exchange.engine.save()
    stand.do("place_order", symbol="AUSDT", side="BUY", type="MARKET", quantity="1")
    log = place / "state.log"
    log.write_bytes(log.read_bytes()[:-3])
    back = Stand(place)
    assert back.exchange.engine.save() == account


def test_a_log_of_an_older_snapshot_is_not_repeated(place: Path) -> None:
    stand = Stand(place)
    trade(stand)
    old = (place / "state.log").read_bytes()
    stand.exchange.snapshot()
    account = stand.exchange.engine.save()
    (place / "state.log").write_bytes(old)
    assert Stand(place).exchange.engine.save() == account


def test_another_speed_walks_finer_or_coarser_from_where_it_was(place: Path) -> None:
    stand = Stand(place)
    trade(stand)
    positions = stand.do("position_risk_v3")
    back = Stand(place, detail=1, seed=9)
    told = back.do("position_risk_v3")
    assert [(one["symbol"], one["positionAmt"], one["entryPrice"]) for one in told] == [
        (one["symbol"], one["positionAmt"], one["entryPrice"]) for one in positions
    ]
    assert back.exchange.market.detail == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"nonsense", "is no saved exchange state"), (b"", "is no saved exchange state")],
)
def test_a_damaged_state_is_one_line(place: Path, content: bytes, text: str) -> None:
    (place / "state").write_bytes(content)
    with pytest.raises(MarketDataError, match=text) as caught:
        Stand(place)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_market_or_version_is_refused(place: Path) -> None:
    Stand(place)
    with pytest.raises(MarketDataError, match="holds an account of the market replay:"):
        Stand(place, replay=None, symbols="BTCUSDT")
    raw = msgspec.msgpack.decode((place / "state").read_bytes())
    (place / "state").write_bytes(msgspec.msgpack.encode({**raw, "version": 99}))
    with pytest.raises(MarketDataError, match="saved by version 99"):
        Stand(place)
    with pytest.raises(MarketDataError, match="does not exist"):
        Stand(place, state_path=str(place / "no" / "state"))


def test_a_start_outside_of_the_candles_is_one_line(place: Path) -> None:
    for start in (START_MS - 1, START_MS + 500 * BAR):
        with pytest.raises(MarketDataError, match="has candles from 2025-01-01T00:00Z to 2025-01-06T05:00Z"):
            Stand(place, start_ms=start, state_path=None)


def test_when_the_candles_end_time_stands_still_and_requests_are_answered(place: Path) -> None:
    stand = Stand(place)
    end = START_MS + 500 * BAR
    stand.real += (end - BEGIN) / 1000.0 + 5_000
    stand.exchange.step()
    stand.real += 60_000
    assert stand.exchange.step()
    assert stand.exchange.ended
    assert stand.exchange.clock.now_ms() == stand.exchange.market.now_ms == end
    assert stand.do("balance")[0]["asset"] == "USDT"
    back = Stand(place)
    assert back.exchange.market.now_ms == end


def test_a_walk_in_slices_hears_the_clock_only_when_it_got_there(place: Path) -> None:
    stand = Stand(place)
    stand.real += 10 * HOUR_MS / 1000.0
    assert not stand.exchange.step(BAR)
    assert stand.exchange.market.now_ms == BEGIN + BAR
    stand.exchange.wait_for_market()
    assert stand.exchange.clock.now_ms() == BEGIN + BAR, "time waits for the market"
    assert stand.exchange.clock.held_ms == 10 * HOUR_MS - BAR


def test_symbols_trade_only_while_they_have_candles_and_what_is_left_is_settled(tmp_path: Path) -> None:
    (tmp_path / "candles").mkdir()
    candles(300, seed=1).write_parquet(tmp_path / "candles" / "AUSDT.parquet")
    candles(30, seed=2, start_ms=BEGIN + 4 * BAR).write_parquet(tmp_path / "candles" / "BUSDT.parquet")
    stand = Stand(tmp_path)
    order = {"symbol": "BUSDT", "side": "BUY", "type": "MARKET", "quantity": "3"}
    with pytest.raises(ExchangeError) as caught:
        stand.do("place_order", **order)
    assert caught.value.code == -4141
    stand.go(5 * BAR)
    stand.do("place_order", **order)
    far = f"{stand.exchange.market.last[1] * 0.97:.2f}"
    stand.do("place_order", symbol="BUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price=far)
    statuses = {one["symbol"]: one["status"] for one in stand.exchange.engine.exchange_info(0)["symbols"]}
    assert statuses == {"AUSDT": "TRADING", "BUSDT": "TRADING"}
    stand.go(40 * BAR)
    assert stand.do("position_risk_v3") == []
    assert stand.do("open_orders") == []
    trades = stand.do("user_trades", symbol="BUSDT", endTime=str(stand.exchange.market.now_ms))
    assert [trade["side"] for trade in trades] == ["BUY", "SELL"] or len(trades) >= 2
    last = stand.do("query_order", symbol="BUSDT", orderId=str(trades[-1]["orderId"]))
    assert last["clientOrderId"].startswith("settlement_autoclose-")
    with pytest.raises(ExchangeError) as caught:
        stand.do("place_order", **order)
    assert caught.value.code == -4141


def test_positions_pay_the_funding_of_the_file(place: Path) -> None:
    pl.DataFrame({"symbol": ["AUSDT"], "funding_time": [BEGIN + 4 * BAR], "funding_rate": [0.01]}).write_parquet(
        place / "funding.parquet"
    )
    stand = Stand(place, funding=str(place / "funding.parquet"))
    stand.do("place_order", symbol="AUSDT", side="BUY", type="MARKET", quantity="5")
    stand.go(5 * BAR)
    paid = [row for row in stand.do("income") if row["incomeType"] == "FUNDING_FEE"]
    assert len(paid) == 1
    assert float(paid[0]["income"]) == pytest.approx(
        -0.01 * 5 * stand.exchange.market.price_at(0, BEGIN + 4 * BAR), rel=0.01
    )


def test_an_account_keeps_the_id_it_was_made_with_and_a_new_one_gets_another(place: Path) -> None:
    first = Stand(place).exchange.account
    assert first
    assert Stand(place).exchange.account == first
    assert owner_of(place / "state") == Owner(first, Stand(place).exchange._source.identity)
    (place / "state").unlink()
    assert Stand(place).exchange.account not in {first, ""}
    assert owner_of(place / "nowhere") is None


def test_a_snapshot_that_the_disk_refuses_leaves_the_old_one_and_its_log_going_on(place: Path) -> None:
    stand = Stand(place)
    (place / "state.new").mkdir()  # nothing can be written there
    with pytest.raises(OSError, match=r"state\.new"):
        stand.exchange.snapshot()
    trade(stand)
    account = stand.exchange.engine.save()
    (place / "state.new").rmdir()
    assert Stand(place).exchange.engine.save() == account
