"""N-HiTS: multi-rate pooling, hierarchical interpolation, backcast residuals (Challu et al., AAAI 2023).

``Block`` and ``Stacks`` are the paper's forecaster and stand alone (equal to Nixtla's reference on copied weights when
``quantiles`` is 1); ``NHiTS`` turns a trader's window into a series in units of its own volatility, forecasts
quantiles of the coming
path and reads three classes off the same hidden layers, so that forecasting is the auxiliary task of voting.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own documentation calls it F


class NHiTSSettings(NamedTuple):
    """Sizes of the network; one entry of ``pools`` and ``rates`` a stack, the coarsest first.

    Attributes:
        length: L, bars of context; channels: C, inputs a bar; horizon: H, bars forecast.
        pools: max-pooling kernels; rates: horizon steps per knot, so that a stack has max(H // rate, 1) knots.
        width, layers: of each block's MLP; quantiles: levels of the path that are forecast.
    """

    length: int = 128
    channels: int = 5
    horizon: int = 24
    pools: tuple[int, ...] = (8, 4, 1)
    rates: tuple[int, ...] = (12, 4, 1)
    width: int = 64
    layers: int = 2
    dropout: float = 0.3
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)


class Block(nn.Module):
    """One block: pool, MLP, a full-length backcast and the knots of a forecast."""

    def __init__(self, s: NHiTSSettings, pool: int, rate: int) -> None:
        super().__init__()
        self.length, self.horizon, self.levels = s.length, s.horizon, len(s.quantiles)
        self.knots = max(s.horizon // rate, 1)
        self.pool = nn.MaxPool1d(pool, stride=pool, ceil_mode=True)
        width_in = s.channels * (-(-s.length // pool))
        body: list[nn.Module] = []
        for _ in range(s.layers):
            body += [nn.Linear(width_in, s.width), nn.ReLU(), nn.Dropout(s.dropout)]
            width_in = s.width
        self.body = nn.Sequential(*body)
        self.theta = nn.Linear(width_in, s.length + self.levels * self.knots)

    def forward(self, residual: Tensor, exogenous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Backcast [B, L], forecast [B, Q, H] and hidden [B, width] from residual [B, L] and exogenous [B, C-1, L].

        The residual runs backwards in time; both are pooled with the same kernel; the backcast is never interpolated.
        """
        pooled = self.pool(torch.cat([residual.unsqueeze(1), exogenous], dim=1))
        hidden = self.body(pooled.flatten(1))
        theta = self.theta(hidden)
        knots = theta[:, self.length :].reshape(-1, self.levels, self.knots)
        forecast = F.interpolate(knots, size=self.horizon, mode="linear", align_corners=False)
        return theta[:, : self.length], forecast, hidden


class Stacks(nn.Module):
    """The forecaster: stacks from coarse to fine, each explaining what the ones before left over."""

    def __init__(self, s: NHiTSSettings) -> None:
        super().__init__()
        if list(s.pools) != sorted(s.pools, reverse=True) or list(s.rates) != sorted(s.rates, reverse=True):
            msg = f"pools {s.pools} and rates {s.rates} must fall from the first stack to the last"
            raise ValueError(msg)
        self.horizon, self.levels = s.horizon, len(s.quantiles)
        self.blocks = nn.ModuleList([Block(s, pool, rate) for pool, rate in zip(s.pools, s.rates, strict=True)])

    def forward(self, series: Tensor, exogenous: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast [B, Q, H] from the last value on, and the blocks' hidden layers [B, stacks · width].

        Args:
            series: [B, L], oldest first; reversed here, as in the reference.
            exogenous: [B, C-1, L], oldest first, and left so, as in the reference.
        """
        residual = series.flip(1)
        forecast = series[:, -1:].unsqueeze(1).expand(-1, self.levels, self.horizon)
        seen = []
        for block in self.blocks:
            backcast, step, hidden = block(residual, exogenous)
            residual, forecast = residual - backcast, forecast + step
            seen.append(hidden)
        return forecast, torch.cat(seen, dim=1)


class NHiTS(nn.Module):
    """The trader's net: window float32[B, L, C] to three classes and quantiles of the coming path.

    Channel 0 of the window is the series: log price against the last close in stop distances (``models.windows``), so
    that the forecast starts from today's price, 0, and is in the units of ``paths``. The other channels are exogenous
    and evened out by a batch norm. The series has no instance norm: windows are scale-free already, and it made N-HiTS
    worse on ETTh1 (.475 against .41).
    """

    def __init__(self, settings: NHiTSSettings) -> None:
        super().__init__()
        self.settings = settings
        self.even = nn.BatchNorm1d(settings.channels - 1, affine=False)
        self.stacks = Stacks(settings)
        self.dropout = nn.Dropout(settings.dropout)
        self.action = nn.Linear(len(settings.pools) * settings.width, 3)

    def scores(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 3] and path quantiles [B, Q, H]."""
        exogenous = self.even(window[:, :, 1:].transpose(1, 2))
        forecast, hidden = self.stacks(window[:, :, 0], exogenous)
        return self.action(self.dropout(hidden)), forecast

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Uncalibrated probabilities [B, 3] and path quantiles [B, Q, H]."""
        logits, forecast = self.scores(window)
        return torch.softmax(logits, dim=1), forecast
