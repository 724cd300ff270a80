"""What a model file is and how its answer becomes a vote.

The manifest beside every ONNX file, its checks, and serving in plain numpy. The trading process imports this module, so
it needs nothing but msgspec and numpy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

MODEL_NAMES = ("xgb", "lgbm", "nhits", "patchtst")
"""Every model of the ensemble; the file names in ``ARTIFACTS``."""
CLASSES = ("SELL", "HOLD", "BUY")
"""Class order of every probability vector; the index is the label."""
SELL, HOLD, BUY = 0, 1, 2
ABSTAIN = -1
"""Action of a model that does not vote: never a HOLD, no part of any count."""
ARTIFACTS = Path(__file__).parent / "artifacts"
"""The models that ship: ``NAME.onnx`` with its manifest ``NAME.json``."""
REFERENCE_POINTS = 101
"""Length of ``Manifest.margin_quantiles``: every percentile of the reference calls, both ends included."""

_MAKE = "make it with: qt train --data DIR --out DIR"
_RESTORE = f"restore it from a copy, or {_MAKE}"
_RESTORE_SHIPPED = f"restore the shipped one with: git checkout models/artifacts, or {_MAKE}"
_MANIFEST_MAX_BYTES = 1_000_000
_VARINT, _LENGTH = 0, 2
"""Wire types of protobuf."""
_READ_BYTES = 1 << 20


class ModelFileError(Exception):
    """A model file that must not vote; one line says which file, what is wrong, what is allowed, what to do.

    Attributes:
        fault, remedy: the two halves of the line; files with one remedy can be told together.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        """Say both in one line."""
        super().__init__(f"{fault}; {remedy}" if remedy else fault)
        self.fault, self.remedy = fault, remedy


class Span(msgspec.Struct, frozen=True):
    """A half-open stretch of time ``[from_ms, to_ms)`` and the labelled rows used from it."""

    from_ms: int
    to_ms: int
    rows: int


class DataRange(msgspec.Struct, frozen=True):
    """The candles a model has learned from: first and last bar open and every symbol."""

    first_ms: int
    last_ms: int
    bars: int
    symbols: tuple[str, ...]


class DecileResult(msgspec.Struct, frozen=True):
    """Calls of one decile of |p_buy - p_sell|; ``mean_r`` is after costs, one R a stop distance."""

    calls: int
    mean_margin: float
    mean_r: float


class Metrics(msgspec.Struct, frozen=True):
    """Out-of-sample figures on the test span, which neither trained, selected nor calibrated the model.

    Attributes:
        log_loss, base_log_loss: nats; the base rate is the class mix of the calibration span, SELL and BUY alike.
        ece: mean over the classes of the expected calibration error, 15 equal-mass bins.
        direction_hit: share of right sides among rows whose label is SELL or BUY.
        deciles: results by decile of the margin, weakest first.
        rows: labelled test rows.
    """

    log_loss: float
    base_log_loss: float
    ece: float
    direction_hit: float
    deciles: tuple[DecileResult, ...]
    rows: int


class Parity(msgspec.Struct, frozen=True):
    """How closely the ONNX graph answers as the fitted model does, in absolute probability."""

    rows: int
    batches: tuple[int, ...]
    max_abs_dp: float
    share_above_1e5: float


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is known of one ONNX file; stored beside it as JSON.

    Attributes:
        name: one of ``MODEL_NAMES``; version: name, day and the first digits of the file's sha256.
        kind: ``features`` takes float32[N, F], ``window`` takes float32[N, window_bars, C]; the graph's input is
            ``input`` and its calibrated output ``probabilities`` float32[N, 3] in the order of ``classes``.
        feature_hash: what ``models.features.feature_hash()`` said when it was trained; another hash is refused.
        window_bars: bars of context a row needs (0 for kind ``features``); channels: names of F or C inputs, in order.
        margin_threshold: smallest |p_buy - p_sell| that is a call rather than a HOLD.
        margin_quantiles: percentiles 0..100 of |p_buy - p_sell| among the reference calls, ascending; confidence is
            read off them.
        created_ms: time of export, ms UTC.
    """

    name: str
    version: str
    kind: Literal["features", "window"]
    interval: str
    feature_hash: str
    window_bars: int
    channels: tuple[str, ...]
    classes: tuple[str, str, str]
    opset: int
    sha256: str
    data: DataRange
    train: Span
    calibration: Span
    test: Span
    metrics: Metrics
    margin_threshold: float
    margin_quantiles: tuple[float, ...]
    parity: Parity
    created_ms: int
    seed: int
    parameters: dict[str, float | int | str | tuple[float, ...]]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def restoring(path: Path) -> str:
    """Return what to do about a file that is not there or damaged."""
    return _RESTORE_SHIPPED if path.parent.resolve() == ARTIFACTS.resolve() else _RESTORE


def load_manifest(path: Path) -> Manifest:
    """The manifest at ``path``; ``ModelFileError`` if it is absent, too large, no JSON or no manifest."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MANIFEST_MAX_BYTES:
            fault = f"{path}: {size_bytes} bytes, a manifest has at most {_MANIFEST_MAX_BYTES}"
            raise ModelFileError(fault, restoring(path))
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: missing; every model needs its manifest beside it", restoring(path)) from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})", restoring(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path}: damaged, no valid manifest ({error})", restoring(path)) from error
    if fault := _fault(manifest):
        raise ModelFileError(f"{path}: {fault}", restoring(path))
    return manifest


def _fault(manifest: Manifest) -> str:
    """What is wrong with the values of a well-formed manifest; empty if nothing is."""
    quantiles = np.asarray(manifest.margin_quantiles)
    if manifest.classes != CLASSES:
        return f"class order {list(manifest.classes)}, allowed {list(CLASSES)}"
    if len(quantiles) != REFERENCE_POINTS or not np.isfinite(quantiles).all() or (np.diff(quantiles) < 0).any():
        return f"margin_quantiles must be {REFERENCE_POINTS} ascending finite numbers, got {len(quantiles)}"
    if not 0 <= manifest.margin_threshold < 1:
        return f"margin_threshold {manifest.margin_threshold}, allowed 0 to below 1"
    return ""


def verify(manifest: Manifest, onnx_path: Path, *, interval: str, feature_hash: str) -> None:
    """Raise ``ModelFileError`` unless this file may vote on bars of ``interval`` with these features."""
    try:
        found = sha256_of(onnx_path)
        damage = "" if found == manifest.sha256 else "truncated" if _is_cut(onnx_path) else "damaged or replaced"
    except FileNotFoundError:
        raise ModelFileError(f"{onnx_path}: missing", restoring(onnx_path)) from None
    except OSError as error:
        raise ModelFileError(f"{onnx_path}: cannot be read ({error.strerror})", restoring(onnx_path)) from error
    if damage:
        fault = f"{onnx_path}: {damage}, its sha256 {found[:12]}… is not the manifest's {manifest.sha256[:12]}…"
        raise ModelFileError(fault, restoring(onnx_path))
    if manifest.interval != interval:
        raise ModelFileError(
            f"{onnx_path}: trained on {manifest.interval} bars, QT_BAR_INTERVAL is {interval}",
            f"where all models are of {manifest.interval} bars set QT_BAR_INTERVAL={manifest.interval}, "
            f"else train this one with: qt train --data DIR --out DIR --interval {interval}",
        )
    if manifest.feature_hash != feature_hash:
        raise ModelFileError(
            f"{onnx_path}: made for features {manifest.feature_hash[:12]}…, this build computes {feature_hash[:12]}…",
            f"use the models that came with this version, or {_MAKE}",
        )


def _is_cut(path: Path) -> bool:
    """Tell whether a file ends within one of its fields (https://protobuf.dev/programming-guides/encoding)."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        key, at = _varint(content, at)
        wire = key & 7
        if wire == _VARINT:
            _, at = _varint(content, at)
        elif wire == _LENGTH:
            length, at = _varint(content, at)
            at += length
        else:  # ONNX has no other at its top: no model at all
            return False
    return at > len(content) or not content


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at`` and where it ends; past the end of the content when it is cut."""
    value = shift = 0
    while at < len(content):
        byte = content[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    return value, at + 1


def checked(name: str, folder: Path, *, interval: str, feature_hash: str) -> tuple[Manifest, Path]:
    """Return the manifest and the graph's path of ``NAME`` in a folder, or raise ``ModelFileError``: see ``verify``."""
    manifest = load_manifest(folder / f"{name}.json")
    path = folder / f"{name}.onnx"
    if manifest.name != name:
        raise ModelFileError(
            f"{folder / name}.json: is the manifest of {manifest.name}, not of {name}", restoring(path)
        )
    verify(manifest, path, interval=interval, feature_hash=feature_hash)
    return manifest, path


def actions_and_confidence(
    probabilities: NDArray[np.float32],
    manifest: Manifest,
    abstain: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Votes of one model (SPEC 3.2): the likelier of buy and sell where its margin reaches the threshold, else HOLD.

    Args:
        probabilities: float32[S, 3], calibrated, in the order of ``CLASSES``.
        manifest: of the model that said them.
        abstain: bool[S], symbols on which it must not vote (warm-up, late, out of distribution ...).

    Returns:
        int8[S] of ``SELL, HOLD, BUY`` or ``ABSTAIN`` (asked for, or a row that is not finite), and float32[S]:
        the share of the reference calls whose margin was smaller (0 for HOLD and ABSTAIN).
    """
    margin = probabilities[:, BUY] - probabilities[:, SELL]
    silent = ~np.isfinite(probabilities).all(axis=1)
    if abstain is not None:
        silent |= abstain
    strength = np.where(silent, 0.0, np.abs(margin))
    called = ~silent & (strength >= manifest.margin_threshold) & (strength > 0)
    actions = np.where(called, np.where(margin > 0, BUY, SELL), HOLD).astype(np.int8)
    actions[silent] = ABSTAIN
    shares = np.linspace(0.0, 1.0, REFERENCE_POINTS)
    confidence = np.interp(strength, np.asarray(manifest.margin_quantiles), shares)
    return actions, np.where(called, confidence, 0.0).astype(np.float32)
