"""What a full disk, a second process and a restart do to a kept account: nothing that anybody was told is forgotten."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.routes import ROUTES
from qt_actors.exchange.saved_state import Entry, StateFile
from tests.candle_folders import MINUTE_MS, START_MS, folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN = START_MS + 100 * 15 * MINUTE_MS
ORDER = {"symbol": "AUSDT", "side": "BUY", "type": "MARKET", "quantity": "5"}
FULL = "/dev/full"  # takes nothing, like a disk without room


class Keeper:
    """Exchanges on one state file, each ended as a killed process is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._left: list[Exchange] = []

    def start(self) -> tuple[Exchange, list[dict[str, Any]]]:
        """An exchange that comes up on what is kept, and what it tells of its account from then on."""
        config = ExchangeConfig(
            replay=str(self.path / "candles"), start_ms=BEGIN, detail=3, state_path=str(self.path / "state")
        )
        exchange = Exchange(
            config, lambda start, speed: ExchangeClock(start, speed, wall=lambda: 0.0, monotonic=lambda: 0.0)
        )
        told: list[dict[str, Any]] = []

        def hear(event: dict[str, Any]) -> tuple[()]:
            told.append(event)
            return ()

        exchange.hub.told = hear
        self._left.append(exchange)
        return exchange, told

    def bury(self) -> None:
        for exchange in self._left:
            if exchange._file is not None:
                exchange._file.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    folder(tmp_path / "candles", ["AUSDT", "BUSDT"], 300)
    one = Keeper(tmp_path)
    yield one
    one.bury()


def test_what_the_log_could_not_take_is_told_only_when_a_snapshot_holds_it(keeper: Keeper) -> None:
    exchange, told = keeper.start()
    log = keeper.path / "state.log"
    log.unlink()
    log.symlink_to(FULL)
    with pytest.raises(OSError, match="No space left"):
        exchange.snapshot()  # begins the log anew
    with pytest.raises(OSError, match="No space left"):
        exchange.operate("place_order", dict(ORDER))
    with pytest.raises(OSError, match="No space left"):
        exchange.commit()
    assert told == []
    assert exchange.engine.position_risk_v3({}, exchange.market.now_ms) == [], "nothing happens that cannot be kept"
    log.unlink()
    exchange.operate("place_order", dict(ORDER))
    assert {event["e"] for event in told} == {"TRADE_LITE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"}
    account = exchange.engine.save()
    assert keeper.start()[0].engine.save() == account, "a kill right then has forgotten nothing"


def test_an_operation_that_happened_while_the_disk_filled_up_is_told_and_kept_when_there_is_room(
    keeper: Keeper,
) -> None:
    exchange, told = keeper.start()
    assert exchange._file is not None
    whole = exchange._file._log
    assert whole is not None
    with open(FULL, "wb", buffering=0) as full:  # noqa: PTH123 - a device
        exchange._file._log = full
        with pytest.raises(OSError, match="No space left"):
            exchange.operate("place_order", dict(ORDER))
    whole.close()
    assert told == [], "it happened, and nobody may know yet"
    exchange.commit()
    assert {event["e"] for event in told} == {"TRADE_LITE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"}
    account = exchange.engine.save()
    assert keeper.start()[0].engine.save() == account


def test_a_record_that_the_disk_took_in_part_is_an_error_and_spoils_no_later_one(tmp_path: Path) -> None:
    """A file that may not grow takes what fits and says nothing; what came after it would never be read again."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from qt_actors.exchange.saved_state import Entry, Snapshot, StateFile
file = StateFile(Path({str(tmp_path / "state")!r}), "m")
shot = Snapshot(number=0, market="m", now_ms=1, seed=1, detail=1, carry=b"", engine=b"")
file.store(shot)
file.append(Entry(2, "a", {{}}))
resource.setrlimit(resource.RLIMIT_FSIZE, (file.log_bytes + 20, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        file.append(Entry(3, "b" * 100, {{}}))
    except OSError:
        print("refused", file.torn)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.store(shot)
file.append(Entry(4, "c", {{}}))
print(file.torn)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["refused", "True", "refused", "True", "False"]
    file = StateFile(tmp_path / "state", "m")
    loaded = file.load()
    file.close()
    assert loaded is not None
    assert loaded[1] == [Entry(4, "c", {})]


def test_a_second_process_on_one_state_is_refused_in_one_line_until_the_first_is_gone(tmp_path: Path) -> None:
    folder(tmp_path / "candles", ["AUSDT"], 300)
    other = f"""
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.entry import run
config = ExchangeConfig(replay={str(tmp_path / "candles")!r}, state_path={str(tmp_path / "state")!r}, detail=3)
raise SystemExit(run(config, complain=print))
"""
    file = StateFile(tmp_path / "state", "replay")
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert "another exchange keeps its account there" in done.stdout
    file.close()
    again = StateFile(tmp_path / "state", "replay")
    again.close()


def test_a_killed_exchange_comes_back_with_the_listen_key_its_clients_hold(keeper: Keeper) -> None:
    exchange, _ = keeper.start()
    create, delete = ROUTES["POST", "/fapi/v1/listenKey"], ROUTES["DELETE", "/fapi/v1/listenKey"]
    key = create.answer(exchange, {})["listenKey"]
    again, _ = keeper.start()
    assert again.listen_keys.is_live(key)
    assert create.answer(again, {})["listenKey"] == key
    delete.answer(again, {})
    assert not keeper.start()[0].listen_keys.is_live(key)
