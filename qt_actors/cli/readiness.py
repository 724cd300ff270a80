"""Can this configuration ever enter anything? Asked once, before anything is started."""

from __future__ import annotations

from config.settings import Settings
from models.features import feature_hash
from models.registry import ARTIFACTS, ModelFileError, checked
from qt_actors.cli.ownership import STATE_NAME
from qt_actors.decisions.voting import meant, staffing
from qt_actors.edges.journal import FILE_NAME
from qt_actors.edges.journal_queries import SqliteJournalReader


def without_quorum(settings: Settings) -> str:
    """Return why no quorum can ever come about, in one line that says what to do; empty when it can."""
    folder = settings.models_dir or ARTIFACTS
    faults: dict[str, ModelFileError] = {}
    for name in meant(settings):
        try:
            checked(name, folder, interval=settings.bar_interval, feature_hash=feature_hash())
        except ModelFileError as error:
            faults[name] = error
    staff = staffing(dict.fromkeys(faults, "unusable"), settings)
    if staff.health:
        return ""
    alike: dict[str, list[str]] = {}
    for fault in faults.values():
        alike.setdefault(fault.remedy, []).append(fault.fault)
    told = (
        f"{first}{f' ({len(others)} more like it)' if others else ''}; {remedy}"
        for remedy, (first, *others) in alike.items()
    )
    votes = f"{staff.able} of {len(meant(settings))} models can vote, {staff.quorum} must agree"
    return f"nothing could ever be entered, {votes}: {' · '.join(told)}"


def idle_wallet(settings: Settings, *, embedded: bool) -> str:
    """Return why QT_PAPER_WALLET, set to another value than its default, changes nothing; empty when it counts."""
    default = Settings.model_fields["paper_wallet_usd"].default
    if settings.paper_wallet_usd == default:
        return ""
    if not embedded:
        return "QT_PAPER_WALLET has no effect: the account is the exchange's own"
    if (settings.data_dir / STATE_NAME).exists():
        return "QT_PAPER_WALLET has no effect: the paper account goes on with what it has; --fresh begins a new one"
    return ""


def holds_trades(settings: Settings) -> bool:
    """Return whether the journal tells of open trades: they are to be protected, models or not."""
    try:
        return bool(SqliteJournalReader(settings.data_dir / FILE_NAME).open_trades())
    except OSError:  # none yet, or not readable: the start itself will say so
        return False
