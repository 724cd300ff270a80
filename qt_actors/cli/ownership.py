"""Whose account lies in the data folder: the run's own, another one's (put aside, or refused), or one to bring back.

An account is known by the id that its exchange gave it, never by how somebody spelled where it is. Journal and
``exchange.json`` are one account and move together: the move is written down first and finished at the next start.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from qt_actors.cli.venue import StartError
from qt_actors.edges.journal import FILE_NAME
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.journal_schema import JournalError
from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.saved_state import Owner, owner_of

LOG = logging.getLogger("qt")
STATE_NAME: Final = "exchange.json"
ARCHIVE_NAME: Final = "archive"
MOVE_NAME: Final = "move.json"
_MOVED: Final = ("journal.", STATE_NAME, "market.json")
"""Beginnings of the names of an account's files; the last one is of older versions."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is about to trade on."""

    mode: Literal["paper", "testnet", "live"]
    market: str
    account: str | None = None
    """Id that the exchange tells; None for the embedded one, whose account is the folder's own."""
    state_market: str = ""
    """Embedded: identity of the market in its ``exchange.json``."""
    same_account: bool = False
    """The operator says that another key is of the same account."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account a folder holds, by the journal's last start and by the exchange's saved state."""

    mode: str = ""
    market: str = ""
    account: str = ""
    """Empty in a journal of an older version."""
    journal: bool = False
    state: Owner | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of what the folder holds."""

    act: Literal["keep", "aside", "refuse"]
    why: str = ""
    look_back: bool = False
    """Whether an account that was put aside earlier may take the empty place."""


class _Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A move under way between the data folder and one folder of its archive."""

    archived: str
    back: bool


def judge(kept: Kept, asked: Asked, *, fresh: bool) -> Verdict:
    """Decide; nothing is looked at and nothing is moved here."""
    why = _misfit(kept, asked)
    if asked.mode != "paper" or (kept.journal and kept.mode != "paper"):
        why = why or ("--fresh begins a new paper account only" if fresh else "")
        return Verdict("refuse", why) if why else Verdict("keep")
    if not kept.journal and kept.state is None:
        return Verdict("keep", look_back=not fresh)
    if fresh:
        return Verdict("aside", "--fresh begins a new one")
    if why:
        gone = asked.account is None and kept.state is None and kept.market == asked.market
        return Verdict("aside", why, look_back=not gone)
    return Verdict("keep")


def _misfit(kept: Kept, asked: Asked) -> str:
    """Return why this is not the account that the run trades on, empty when it is or when there is none."""
    elsewhere = f"this run trades {asked.market}"
    if kept.journal and kept.mode != asked.mode:
        return elsewhere
    if asked.mode != "paper":
        known = kept.journal and kept.account and not asked.same_account
        return "it was begun with another API key" if known and kept.account != asked.account else ""
    if asked.account is not None:
        if kept.state is not None:
            return elsewhere
        if not kept.journal or kept.account == asked.account:
            return ""
        return "the exchange there has another account now" if kept.market == asked.market else elsewhere
    if kept.journal and kept.market != asked.market:
        return elsewhere
    if kept.state is None:
        return f"its {STATE_NAME} is gone" if kept.journal else ""
    if kept.state.market != asked.state_market:
        return elsewhere
    return f"{STATE_NAME} holds another account" if kept.account not in {"", kept.state.account} else ""


def own(data_dir: Path, asked: Asked, *, fresh: bool) -> None:
    """Leave in the folder the journal and account that this run goes on with, or none for a new one.

    A paper account that is another one's is put aside; one of the same market that was put aside comes back.

    Raises:
        StartError: the folder belongs to the testnet or to real money, or a file cannot be read or moved.
    """
    try:
        _finish(data_dir)
        kept = kept_in(data_dir)
        verdict = judge(kept, asked, fresh=fresh)
        if verdict.act == "refuse":
            raise StartError(_refusal(data_dir, kept, verdict.why), wrong_usage=True)
        if verdict.act == "aside":
            _put_aside(data_dir, kept, verdict.why)
        if verdict.look_back:
            _bring_back(data_dir, asked)
    except (JournalError, MarketDataError) as error:
        raise StartError(str(error)) from None
    except OSError as error:
        line = f"{error.filename or data_dir}: {error.strerror}; give a QT_DATA_DIR that can be written"
        raise StartError(line, wrong_usage=True) from None


def kept_in(folder: Path) -> Kept:
    """Read whose account a folder holds.

    Raises:
        JournalError, MarketDataError: a file cannot be read as what its name says.
    """
    state = owner_of(folder / STATE_NAME)
    last = _last_start(folder / FILE_NAME)
    if last is None:
        return Kept(state=state)
    return Kept(mode=last["mode"], market=last["market"], account=last.get("account", ""), journal=True, state=state)


def _last_start(path: Path) -> dict[str, str] | None:
    if not path.exists():
        return None
    try:
        return next(iter(SqliteJournalReader(path).rows("sessions", {"limit": 1})), None)
    except JournalError as error:
        if "no such table" in str(error):
            return None  # killed before its first table was made: it holds nothing
        raise


def _refusal(data_dir: Path, kept: Kept, why: str) -> str:
    line = f"{data_dir} holds the journal of {kept.market or 'no account yet'}, {why}; give another QT_DATA_DIR"
    return f"{line}, or --same-account when the key is only a new one" if "API key" in why else line


def _put_aside(data_dir: Path, kept: Kept, why: str) -> None:
    market = kept.market or (kept.state.market if kept.state else "")
    stamp, slug = datetime.now(UTC).strftime("%Y%m%dT%H%M%S"), re.sub(r"[^A-Za-z0-9.,-]+", "_", market)[-80:]
    names = {p.name for p in _archived(data_dir)}
    name = next(n for i in range(len(names) + 1) if (n := f"{stamp}{f'-{i}' if i else ''} {slug}") not in names)
    _move(data_dir, _Move(archived=name, back=False))
    LOG.info("the paper account of %s was put aside in %s: %s", market, data_dir / ARCHIVE_NAME / name, why)


def _bring_back(data_dir: Path, asked: Asked) -> None:
    """Let the newest archived account of this run's market go on; one that cannot be read stays where it is."""
    for folder in sorted(_archived(data_dir), reverse=True):
        try:
            kept = kept_in(folder)
        except (JournalError, MarketDataError):
            continue
        if kept.journal and judge(kept, asked, fresh=False).act == "keep":
            _move(data_dir, _Move(archived=folder.name, back=True))
            LOG.info("the paper account of %s goes on; it was in %s (--fresh begins a new one)", kept.market, folder)
            return


def _archived(data_dir: Path) -> list[Path]:
    archive = data_dir / ARCHIVE_NAME
    return [p for p in archive.iterdir() if p.is_dir()] if archive.is_dir() else []


def _move(data_dir: Path, move: _Move) -> None:
    """Write down what is about to be moved, then move it: a start that finds the note finishes it."""
    note = data_dir / MOVE_NAME
    beside = note.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(move))
    beside.replace(note)
    _finish(data_dir)


def _finish(data_dir: Path) -> None:
    note = data_dir / MOVE_NAME
    if not note.exists():
        return
    try:
        move = msgspec.json.decode(note.read_bytes(), type=_Move)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        line = f"{note}: is damaged; put the files journal.* and {STATE_NAME}* of one account together and delete it"
        raise StartError(line, wrong_usage=True) from None
    aside = data_dir / ARCHIVE_NAME / Path(move.archived).name
    source, target = (aside, data_dir) if move.back else (data_dir, aside)
    target.mkdir(parents=True, exist_ok=True)
    for path in list(_files(source)):
        shutil.move(path, target / path.name)
    note.unlink()
    if move.back and not any(aside.iterdir()):
        aside.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if p.name.startswith(_MOVED) and p.is_file()) if folder.is_dir() else iter(())
