"""The training loop both networks share: seeded, stopped early, resumable, on one CPU thread or a GPU if one is there.

The loss is the weighted cross-entropy of the action plus ``forecast_weight`` times the pinball loss of the path's
quantiles (Koenker and
Bassett 1978): forecasting is dense supervision that a label of three classes lacks. A round is a fixed number of
randomly drawn rows, so
that stopping early works at a finer grain than a pass over all rows; the checkpoint after every round holds all that
is needed to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own documentation calls it F

from models.rows import WindowRows

_EVALUATION_BATCH = 1024


class LoopSettings(NamedTuple):
    """How a network is fitted.

    Attributes:
        round_rows: rows drawn a round; rounds_max: at most so many; patience: rounds without a better validation log-
            loss.
        batch: rows a step; learning_rate: AdamW's, falling as a cosine to a twentieth over ``rounds_max`` rounds.
        forecast_weight: of the pinball loss beside the cross-entropy; gradient_norm_max: clipping.
    """

    round_rows: int = 32_768
    rounds_max: int = 24
    patience: int = 5
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    forecast_weight: float = 0.5
    gradient_norm_max: float = 1.0


DEFAULT_LOOP = LoopSettings()


class Fitted(NamedTuple):
    """A network with its best weights, in evaluation mode on the CPU, and how it got there."""

    network: nn.Module
    rounds: int
    best_round: int
    validation_log_loss: float


def pinball(forecast: Tensor, path: Tensor, levels: Tensor) -> Tensor:
    """Mean pinball loss of [B, Q, H] quantile forecasts of [B, H] paths at levels [Q]; NaN steps do not count."""
    known = torch.isfinite(path)
    error = torch.where(known, path, torch.zeros_like(path)).unsqueeze(1) - forecast
    loss = torch.maximum(levels[None, :, None] * error, (levels[None, :, None] - 1) * error)
    return (loss * known.unsqueeze(1)).sum() / (known.sum() * len(levels)).clamp(min=1)


def probabilities(network: nn.Module, rows: WindowRows, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Uncalibrated float32[len(index), 3] of the rows at ``index``, with the network as it stands on its own device."""
    device = next(network.parameters()).device
    network.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(index), _EVALUATION_BATCH):
            windows = torch.from_numpy(rows.gather(index[start : start + _EVALUATION_BATCH])).to(device)
            parts.append(network(windows)[0].cpu().numpy())
    return np.concatenate(parts).astype(np.float32)


def fit(
    build: Callable[[], nn.Module],
    quantiles: tuple[float, ...],
    train: WindowRows,
    validation: WindowRows,
    *,
    seed: int,
    loop: LoopSettings = DEFAULT_LOOP,
    checkpoint: Path | None = None,
    tick: Callable[[float], None] = lambda _: None,
) -> Fitted:
    """Train ``build()`` and return it as it was in the round of least validation log-loss.

    Args:
        build: makes the network; ``network(windows)`` gives (probabilities [B, 3], forecast [B, Q, H]),
            ``network.scores(windows)`` the same with logits.
        quantiles: the Q levels the network forecasts.
        train: rows to fit; weights are of mean 1.
        validation: rows to stop by; weights likewise.
        seed: of weights, draws and dropout.
        loop: how long and how fast.
        checkpoint: file to go on from and to write after every round; one of another seed or setting is refused
            (ValueError).
        tick: hears the validation log-loss of every round.
    """
    torch.manual_seed(seed)
    run = _Run(build(), quantiles, seed, loop)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    while run.round < loop.rounds_max and run.round - run.best_round < loop.patience:
        run.one_round(train)
        run.judge(_validation_loss(run.network, validation))
        if checkpoint is not None:
            run.save(checkpoint)
        tick(run.losses[-1])
    run.network.load_state_dict(run.best)
    return Fitted(run.network.cpu().eval(), run.round, run.best_round, min(run.losses))


def _validation_loss(network: nn.Module, rows: WindowRows) -> float:
    p = probabilities(network, rows, np.arange(len(rows.labels)))
    chosen = np.maximum(p[np.arange(len(p)), rows.labels], 1e-7)
    return float(np.average(-np.log(chosen), weights=rows.weights))


class _Run:
    """State of a fit between rounds: what a checkpoint holds."""

    def __init__(self, network: nn.Module, quantiles: tuple[float, ...], seed: int, loop: LoopSettings) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        self.levels = torch.tensor(quantiles, device=self.device)
        self.seed, self.loop = seed, loop
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=loop.learning_rate, weight_decay=loop.weight_decay)
        self.round, self.best_round = 0, 0
        self.losses: list[float] = []
        self.best: dict[str, Any] = {}

    def one_round(self, rows: WindowRows) -> None:
        """Draw rows by seed and round, so that a resumed run draws what an unbroken one would have."""
        loop = self.loop
        torch.manual_seed(self.seed * 1_000 + self.round)
        draw = np.random.default_rng((self.seed, self.round))
        index = draw.permutation(len(rows.labels))[: loop.round_rows]
        part = 0.5 * (1 + math.cos(math.pi * self.round / loop.rounds_max))
        for group in self.optimizer.param_groups:
            group["lr"] = loop.learning_rate * (0.05 + 0.95 * part)
        self.network.train()
        for start in range(0, len(index), loop.batch):
            batch = index[start : start + loop.batch]
            if len(batch) > 1:  # BatchNorm has no variance over one row
                self._step(rows, batch)
        self.round += 1

    def _step(self, rows: WindowRows, batch: NDArray[np.int64]) -> None:
        windows = torch.from_numpy(rows.gather(batch)).to(self.device)
        labels = torch.from_numpy(rows.labels[batch].astype(np.int64)).to(self.device)
        weights = torch.from_numpy(rows.weights[batch].astype(np.float32)).to(self.device)
        path = torch.from_numpy(rows.paths[batch]).to(self.device)
        logits, forecast = self.network.scores(windows)
        action = (F.cross_entropy(logits, labels, reduction="none") * weights).mean()
        loss = action + self.loop.forecast_weight * pinball(forecast, path, self.levels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.loop.gradient_norm_max)
        self.optimizer.step()

    def judge(self, loss: float) -> None:
        """Keep the weights if this round is the best so far; FloatingPointError if the loss is not finite."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"validation log-loss {loss} in round {self.round}: look for NaN in the windows")
        self.losses.append(loss)
        if loss <= min(self.losses):
            self.best_round = self.round
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        state = {
            "identity": self._identity(),
            "round": self.round,
            "best_round": self.best_round,
            "losses": self.losses,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same seed, sizes and settings."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self._identity():
            msg = f"{path}: checkpoint of another run ({state['identity'][:40]}…); delete it or keep the settings"
            raise ValueError(msg)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.round, self.best_round = state["round"], state["best_round"]
        self.losses, self.best = state["losses"], state["best"]

    def _identity(self) -> str:
        sizes = [tuple(p.shape) for p in self.network.parameters()]
        return f"seed {self.seed}, {self.loop}, sizes {sizes}"
