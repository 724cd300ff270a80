"""The table a reader should ask for: every model, the ensemble and free baselines on the same unseen rows, after costs.

Models answer through their ONNX files, so what is judged is what is served. Baselines say what costs nothing to know:
the class mix without a side, always long, always short, the last day's direction and its opposite, a coin, and a
logistic regression on ten indicators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models import evaluation
from models.calibration import expected_calibration_error, fit_vector_scaling, log_loss
from models.dataset import Dataset, Rows, build_dataset
from models.evaluation import SHARES, Band, Outcomes, day_block_band, direction_hit, information_coefficient, strongest
from models.folds import FoldEdges
from models.labels import Barriers
from models.registry import (
    ABSTAIN,
    BUY,
    HOLD,
    MODEL_NAMES,
    SELL,
    Manifest,
    actions_and_confidence,
    load_manifest,
    verify,
)
from models.training import outcomes, split

LOGISTIC_FEATURES = (
    "rsi_14",
    "macd",
    "adx_14",
    "bollinger_position",
    "sma_50",
    "sma_200",
    "volatility_24_96",
    "return_24",
    "btc_return_24",
    "market_return_24",
)
CONFIDENCES = (0.0, 0.38, 0.45, 0.55, 0.70, 0.85)
"""Least confidences for which the ensemble's signals are judged: none, SPEC 6's bases, SPEC 8's size bands."""
_BATCH = 2048


class Line(msgspec.Struct, frozen=True):
    """One model or baseline.

    Attributes:
        log_loss, ece: None for a rule that says no probabilities.
        direction_hit: share of right sides among rows labelled SELL or BUY.
        ic, ic_pooled: rank correlation with the 24-bar move, across symbols at one time, and over all rows.
        strongest: result in R of following it, for each of ``SHARES``; the first only where all scores are equal.
    """

    name: str
    log_loss: float | None
    ece: float | None
    direction_hit: float
    ic: float
    ic_pooled: float
    strongest: tuple[Band, ...]


class Passed(msgspec.Struct, frozen=True):
    """The ensemble's signals that pass ``rule``: how many a bar over all symbols, and their result in R."""

    rule: str
    signals_per_bar: float
    buy_share: float
    band: Band


class Scoreboard(msgspec.Struct, frozen=True):
    """All of it for one span; ``vote_correlation`` is between margins, ``agreement`` between votes where both call."""

    from_ms: int
    to_ms: int
    rows: int
    symbols: int
    base_log_loss: float
    log_loss_gain: dict[str, Band]
    lines: tuple[Line, ...]
    vote_correlation: dict[str, float]
    agreement: dict[str, float]
    ensemble: tuple[Passed, ...]


def answers(dataset: Dataset, rows: Rows, manifest: Manifest, onnx_path: Path) -> NDArray[np.float32]:
    """Calibrated probabilities float32[n, 3] of an ONNX file for data set rows."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        x = dataset.windows(part) if manifest.kind == "window" else dataset.features[part]
        parts.append(session.run(["probabilities"], {"input": x})[0])
    return np.concatenate(parts)


def evaluate(
    data_dirs: Sequence[Path],
    models_dir: Path,
    *,
    interval: str = "1h",
    funding_file: Path | None = None,
    models: Sequence[str] = MODEL_NAMES,
) -> Scoreboard:
    """Judge the model files in ``models_dir`` on the test span of their manifests.

    Raises ``ModelFileError`` for a file that may not vote, ``CandleError`` or ValueError for unusable data.
    """
    dataset = build_dataset(data_dirs, interval=interval, funding_file=funding_file)
    manifests = {name: load_manifest(models_dir / f"{name}.json") for name in models}
    for name, manifest in manifests.items():
        verify(manifest, models_dir / f"{name}.onnx", interval=interval, feature_hash=dataset.feature_hash)
    spans = {(m.calibration.from_ms, m.test.from_ms, m.test.to_ms) for m in manifests.values()}
    if len(spans) > 1:
        raise ValueError(f"the models of {models_dir} were tested on {len(spans)} different spans; train them together")
    edges = FoldEdges(*spans.pop())
    parts = split(dataset.t0_ms, dataset.t1_ms, edges)
    said = {
        name: answers(dataset, parts.test, manifest, models_dir / f"{name}.onnx")
        for name, manifest in manifests.items()
    }
    mix = evaluation.class_mix(dataset.labels[parts.calibration].astype(np.int64))
    rules = baselines(dataset, parts.train, parts.calibration, parts.test)
    return scoreboard(dataset, parts.test, edges, mix, said, manifests, rules)


def baselines(dataset: Dataset, train: Rows, calibration: Rows, test: Rows) -> dict[str, NDArray[np.floating]]:
    """Scores float[n] of the rules, and calibrated probabilities float[n, 3] of the logistic regression."""
    day = dataset.features[test, dataset.feature_names.index("return_24")].astype(np.float64)
    columns = [dataset.feature_names.index(name) for name in LOGISTIC_FEATURES]

    def standard(rows: Rows) -> NDArray[np.float64]:
        fitted = dataset.features[train][:, columns].astype(np.float64)
        values = (dataset.features[rows][:, columns] - np.nanmean(fitted, axis=0)) / np.nanstd(fitted, axis=0)
        return np.asarray(np.clip(np.nan_to_num(values), -5, 5))

    logistic = LogisticRegression(C=1.0, max_iter=500)
    logistic.fit(standard(train), dataset.labels[train], sample_weight=dataset.weights[train])
    scaling = fit_vector_scaling(
        logistic.predict_proba(standard(calibration)),
        dataset.labels[calibration].astype(np.int64),
        dataset.weights[calibration].astype(np.float64),
    )
    return {
        "always long": np.ones(len(test)),
        "always short": -np.ones(len(test)),
        "momentum 24 h": day,
        "reversal 24 h": -day,
        "coin": np.random.default_rng(0).normal(size=len(test)),
        "logistic, 10 features": scaling.apply(logistic.predict_proba(standard(test))),
    }


def scoreboard(
    dataset: Dataset,
    test: Rows,
    edges: FoldEdges,
    mix: NDArray[np.float64],
    said: Mapping[str, NDArray[np.float32]],
    manifests: Mapping[str, Manifest],
    rules: Mapping[str, NDArray[np.floating]],
) -> Scoreboard:
    """The table of models ``said`` (calibrated [n, 3]) and ``rules`` on the rows ``test``."""
    facts = outcomes(dataset, test)
    votes = {name: actions_and_confidence(p, manifests[name]) for name, p in said.items()}
    margins = {name: (p[:, BUY] - p[:, SELL]).astype(np.float64) for name, p in said.items()}
    everyone: dict[str, NDArray[np.floating]] = {**said, **rules}
    if len(said) > 1:
        weights = {name: evaluation.WEIGHTS[name] for name in said}
        mean = sum(p.astype(np.float64) * weights[name] for name, p in said.items())
        everyone["mean of the models"] = np.asarray(mean) / sum(weights.values())
    base = np.tile(mix, (len(test), 1))
    return Scoreboard(
        from_ms=edges.test_ms,
        to_ms=edges.end_ms,
        rows=len(test),
        symbols=len(np.unique(dataset.symbol[test])),
        base_log_loss=log_loss(base, facts.labels),
        log_loss_gain={name: _gain(p, base, facts) for name, p in said.items()},
        lines=tuple(_line(name, answer, facts) for name, answer in everyone.items()),
        vote_correlation=_pairs(margins, lambda a, b: float(np.corrcoef(a, b)[0, 1])),
        agreement=_pairs({name: vote[0].astype(np.float64) for name, vote in votes.items()}, _agreement),
        ensemble=_ensemble(dataset, test, facts, votes, margins),
    )


def _gain(p: NDArray[np.floating], base: NDArray[np.floating], facts: Outcomes) -> Band:
    """How many nats a row the model is better than the class mix."""
    at = np.arange(len(facts.labels))
    return day_block_band(np.log(p[at, facts.labels].astype(np.float64)) - np.log(base[at, facts.labels]), facts.t0_ms)


def _line(name: str, answer: NDArray[np.floating], facts: Outcomes) -> Line:
    probable = answer.ndim == 2
    score = (answer[:, BUY] - answer[:, SELL] if probable else answer).astype(np.float64)
    gained = evaluation.results(score, facts)
    shares = SHARES if np.ptp(np.abs(score)) > 0 else SHARES[:1]  # a rule that is always equally sure has no strongest
    top = [strongest(score, share) for share in shares]
    within, pooled = information_coefficient(score, facts)
    return Line(
        name=name,
        log_loss=log_loss(answer, facts.labels) if probable else None,
        ece=expected_calibration_error(answer, facts.labels) if probable else None,
        direction_hit=direction_hit(score, facts.labels),
        ic=within,
        ic_pooled=pooled,
        strongest=tuple(day_block_band(gained[rows], facts.t0_ms[rows]) for rows in top),
    )


def _agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Share of equal sides among the rows in which both call."""
    both = (a != HOLD) & (b != HOLD) & (a != ABSTAIN) & (b != ABSTAIN)
    return float((a == b)[both].mean()) if both.any() else 0.0


def _pairs(columns: Mapping[str, NDArray[np.float64]], compared: object) -> dict[str, float]:
    names = list(columns)
    return {
        f"{a}-{b}": compared(columns[a], columns[b])  # type: ignore[operator]  # either of the two functions above
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }


def _ensemble(
    dataset: Dataset,
    test: Rows,
    facts: Outcomes,
    votes: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float32]]],
    margins: Mapping[str, NDArray[np.float64]],
) -> tuple[Passed, ...]:
    """Signals and results from each least confidence on; a whole bar has as many rows as there are symbols.

    The last line keeps signals whose edge, margin · (1 + target ratio) / 2 stop distances as the trader reckons it,
    pays the labels' own fees and slippage.
    """
    voted = evaluation.ensemble(votes, margins)
    side = np.where(voted.actions == BUY, 1.0, np.where(voted.actions == SELL, -1.0, 0.0))
    gained = evaluation.results(side, facts)
    symbols = len(np.unique(dataset.symbol[test]))
    barriers = Barriers()
    cost = 2 * (barriers.fee + barriers.slippage) / np.minimum(dataset.stop_distance[test], barriers.stop_max)
    rules = {f"confidence ≥ {least:.2f}": voted.confidence >= least for least in CONFIDENCES}
    rules["edge pays fees and slippage"] = voted.margin * (1 + barriers.target_ratio) / 2 > cost
    passed = []
    for rule, kept in rules.items():
        signal = (side != 0) & kept
        passed.append(
            Passed(
                rule=rule,
                signals_per_bar=float(signal.mean() * symbols),
                buy_share=float((side[signal] > 0).mean()) if signal.any() else 0.0,
                band=day_block_band(gained[signal], facts.t0_ms[signal]),
            ),
        )
    return tuple(passed)


def markdown(board: Scoreboard) -> str:
    """The table as ``CARD.md`` prints it."""
    days = [np.datetime_as_string(np.datetime64(t, "ms"), unit="D") for t in (board.from_ms, board.to_ms)]
    shares = " | ".join(f"R, strongest {share:.0%}" for share in SHARES)
    head = f"{board.rows:,} rows of {board.symbols} symbols, {days[0]} to {days[1]}; log-loss of the class mix"
    lines = [
        f"{head} {board.base_log_loss:.4f}; bands: 95 %, whole days resampled.",
        "",
        f"| | log-loss | ECE | direction hit | IC across symbols / pooled | {shares} |",
        "|---|---|---|---|---|" + "---|" * len(SHARES),
    ]
    for line in board.lines:
        loss = "" if line.log_loss is None else f"{line.log_loss:.4f}"
        ece = "" if line.ece is None else f"{line.ece:.3f}"
        bands = " | ".join([*map(_shown, line.strongest), *[""] * (len(SHARES) - len(line.strongest))])
        ic = f"{line.ic:+.3f} / {line.ic_pooled:+.3f}"
        lines.append(f"| {line.name} | {loss} | {ece} | {line.direction_hit:.1%} | {ic} | {bands} |")
    lines += ["", "| ensemble | signals a bar | of them BUY | R a signal |", "|---|---|---|---|"]
    lines += [f"| {p.rule} | {p.signals_per_bar:.1f} | {p.buy_share:.0%} | {_shown(p.band)} |" for p in board.ensemble]
    lines += ["", "| pair | correlation of margins | same side where both call |", "|---|---|---|"]
    lines += [
        f"| {pair} | {value:.2f} | {board.agreement[pair]:.0%} |" for pair, value in board.vote_correlation.items()
    ]
    gains = "; ".join(f"{name} {_shown(band, 4)}" for name, band in board.log_loss_gain.items())
    return "\n".join([*lines, "", f"Nats a row better than the class mix: {gains}.", ""])


def _shown(band: Band, digits: int = 3) -> str:
    return f"{band.mean:+.{digits}f} ({band.low:+.{digits}f} to {band.high:+.{digits}f})"
