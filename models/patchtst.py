"""PatchTST: patches of a series as tokens, channels independent (Nie et al., ICLR 2023), with an action head.

``Backbone`` is the paper's encoder: RevIN without affine parameters, end padding by one stride, one shared encoder
for all
channels, learned positions, residual attention (RealFormer: layer n's scores are added to layer n+1's), post-norm by
BatchNorm
over (batch · channel, token), GELU. ``Forecaster`` adds the paper's flatten head and undoes the normalisation;
``PatchTST`` is the
trader's net: the same backbone under a head for three classes and one for quantiles of the coming path (the auxiliary
task).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own documentation calls it F

_REVIN_EPSILON = 1e-5


class PatchTSTSettings(NamedTuple):
    """Sizes of the network.

    Attributes:
        length: L, bars of context; channels: C, inputs a bar; horizon: H, bars forecast.
        patch, stride: bars a token spans and bars between tokens: floor((L - patch) / stride) + 2 tokens with the end
            padding.
        width: d_model; heads, inner (d_ff), layers: of the encoder; quantiles: levels of the path that are forecast.
        squeeze: numbers a channel is brought down to before the action head, which otherwise has 2 570 inputs a class
            and learns them by heart (validation log-loss 1.03 against .975).
    """

    length: int = 128
    channels: int = 5
    horizon: int = 24
    patch: int = 16
    stride: int = 8
    width: int = 32
    heads: int = 2
    inner: int = 64
    layers: int = 3
    dropout: float = 0.2
    head_dropout: float = 0.3
    squeeze: int = 8
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)

    @property
    def tokens(self) -> int:
        """Patches a series is cut into."""
        return (self.length - self.patch) // self.stride + 2


class TokenNorm(nn.Module):
    """BatchNorm of [rows, tokens, d] over rows and tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return torch.as_tensor(self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape))


class ResidualAttention(nn.Module):
    """Multi-head attention that adds the previous layer's scores to its own before the softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            msg = f"width {width} must be a multiple of heads {heads}"
            raise ValueError(msg)
        self.heads, self.per_head = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, scores_before: Tensor | None) -> tuple[Tensor, Tensor]:
        """[rows, tokens, d] and scores [rows, heads, tokens, tokens] from tokens and the previous layer's scores."""
        tokens = x.shape[1]

        def split(t: Tensor) -> Tensor:
            return t.reshape(-1, tokens, self.heads, self.per_head).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(-1, -2) * self.per_head**-0.5
        if scores_before is not None:
            scores = scores + scores_before
        mixed = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2)
        return self.out(mixed.reshape(-1, tokens, self.heads * self.per_head)), scores


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each added to its input and then normalised."""

    def __init__(self, s: PatchTSTSettings) -> None:
        super().__init__()
        self.attention = ResidualAttention(s.width, s.heads)
        self.feed = nn.Sequential(
            nn.Linear(s.width, s.inner), nn.GELU(), nn.Dropout(s.dropout), nn.Linear(s.inner, s.width)
        )
        self.dropout = nn.Dropout(s.dropout)
        self.norm_attention, self.norm_feed = TokenNorm(s.width), TokenNorm(s.width)

    def forward(self, x: Tensor, scores_before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Same shapes as ``ResidualAttention``."""
        mixed, scores = self.attention(x, scores_before)
        x = self.norm_attention(x + self.dropout(mixed))
        return self.norm_feed(x + self.dropout(self.feed(x))), scores


class Backbone(nn.Module):
    """[B, C, L] to tokens [B, C, tokens, d], with each series' own mean and deviation."""

    def __init__(self, s: PatchTSTSettings) -> None:
        super().__init__()
        self.s = s
        self.embed = nn.Linear(s.patch, s.width)
        self.position = nn.Parameter(torch.empty(s.tokens, s.width).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(s.dropout)
        self.layers = nn.ModuleList([EncoderLayer(s) for _ in range(s.layers)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, C, tokens, d], mean [B, C, 1] and standard deviation [B, C, 1] of the window (RevIN)."""
        s = self.s
        mean = x.mean(dim=-1, keepdim=True)
        deviation = torch.sqrt(x.var(dim=-1, keepdim=True, unbiased=False) + _REVIN_EPSILON)
        z = (x - mean) / deviation
        z = torch.cat([z, z[:, :, -1:].expand(-1, -1, s.stride)], dim=-1)
        patches = z.unfold(-1, s.patch, s.stride)
        z = self.dropout(self.embed(patches).reshape(-1, s.tokens, s.width) + self.position)
        scores: Tensor | None = None
        for layer in self.layers:
            z, scores = layer(z, scores)
        return z.reshape(-1, x.shape[1], s.tokens, s.width), mean, deviation


class Forecaster(nn.Module):
    """The paper's forecaster: every channel alone through one shared backbone and one shared flatten head."""

    def __init__(self, s: PatchTSTSettings) -> None:
        super().__init__()
        self.backbone = Backbone(s)
        self.head = nn.Linear(s.width * s.tokens, s.horizon)

    def forward(self, x: Tensor) -> Tensor:
        """Forecast [B, C, H] of [B, C, L], in the units of the input."""
        tokens, mean, deviation = self.backbone(x)
        return torch.as_tensor(self.head(tokens.transpose(2, 3).flatten(2)) * deviation + mean)


class PatchTST(nn.Module):
    """The trader's net: window float32[B, L, C] to three classes and quantiles of the coming path.

    Channel 0 of the window is log price against the last close in stop distances (``models.windows``). RevIN takes
    level and scale out of every channel, so both are handed to the heads beside the tokens; the path is forecast from
    channel 0's tokens in stop distances, the units of ``paths``, so there is nothing to de-normalise.
    """

    def __init__(self, settings: PatchTSTSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = Backbone(settings)
        flat, moments = settings.width * settings.tokens, 2 * settings.channels
        self.moments = nn.BatchNorm1d(moments, affine=False)
        self.dropout = nn.Dropout(settings.head_dropout)
        self.squeeze = nn.Linear(flat, settings.squeeze)
        self.action = nn.Linear(settings.channels * settings.squeeze + moments, 3)
        nn.init.zeros_(self.action.weight)
        nn.init.zeros_(self.action.bias)
        self.path = nn.Linear(flat + moments, len(settings.quantiles) * settings.horizon)

    def scores(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 3] and path quantiles [B, Q, H]."""
        s = self.settings
        tokens, mean, deviation = self.backbone(window.transpose(1, 2))
        moments = self.moments(torch.cat([mean.flatten(1), torch.log(deviation.flatten(1))], dim=1))
        flat = self.dropout(tokens.transpose(2, 3).flatten(2))
        votes = F.gelu(self.squeeze(flat)).flatten(1)
        logits = self.action(torch.cat([votes, moments], dim=1))
        path = self.path(torch.cat([flat[:, 0], moments], dim=1))
        return logits, path.reshape(-1, len(s.quantiles), s.horizon)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Uncalibrated probabilities [B, 3] and path quantiles [B, Q, H]."""
        logits, forecast = self.scores(window)
        return torch.softmax(logits, dim=1), forecast
