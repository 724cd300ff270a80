"""The two networks are what their papers say, where naive versions go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models import train_network  # noqa: E402 - after the check for torch
from models.nhits import Block, NHiTS, NHiTSSettings, Stacks  # noqa: E402 - likewise
from models.patchtst import Backbone, Forecaster, PatchTST, PatchTSTSettings  # noqa: E402 - likewise
from models.rows import WindowRows  # noqa: E402 - likewise

torch.set_num_threads(1)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of the tests' own."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_both_networks_answer_probabilities_and_a_path_for_any_batch(batch: int) -> None:
    for network in (NHiTS(NHiTSSettings()), PatchTST(PatchTSTSettings())):
        network.eval()
        p, forecast = network(torch.randn(batch, 128, 5, generator=seeded()))
        assert p.shape == (batch, 3)
        assert forecast.shape == (batch, 3, 24)
        assert torch.allclose(p.sum(dim=1), torch.ones(batch))


def test_answers_of_a_row_do_not_depend_on_its_batch() -> None:
    x = torch.randn(9, 128, 5, generator=seeded())
    for network in (NHiTS(NHiTSSettings()), PatchTST(PatchTSTSettings())):
        network.eval()
        together = network(x)[0]
        alone = torch.cat([network(row.unsqueeze(0))[0] for row in x])
        assert torch.allclose(together, alone, atol=1e-6)


def test_nhits_without_learning_repeats_the_last_value() -> None:
    stacks = Stacks(NHiTSSettings(channels=1, quantiles=(0.5,)))
    for block in stacks.blocks:
        torch.nn.init.zeros_(block.theta.weight)
        torch.nn.init.zeros_(block.theta.bias)
    series = torch.randn(4, 128, generator=seeded())
    forecast, _ = stacks(series, series.new_zeros(4, 0, 128))
    assert torch.equal(forecast, series[:, -1:, None].expand(-1, -1, 24))


def test_nhits_knots_follow_the_rate_and_are_interpolated_linearly() -> None:
    settings = NHiTSSettings(channels=1, horizon=24, quantiles=(0.5,), dropout=0.0)
    assert [Block(settings, 1, rate).knots for rate in (12, 4, 1, 48)] == [2, 6, 24, 1]
    block = Block(settings, 8, 12)
    torch.nn.init.zeros_(block.theta.weight)
    block.theta.bias.data.zero_()[-2:] = torch.tensor([0.0, 12.0])
    _, forecast, _ = block(torch.zeros(1, 128), torch.zeros(1, 0, 128))
    # half-pixel centres (align_corners=False): knots sit at 5.5 and 17.5, flat outside, one step a bar between
    wanted = torch.clamp(torch.arange(24) - 5.5, 0, 12)
    assert torch.allclose(forecast[0, 0], wanted, atol=1e-5)


def test_nhits_pools_the_newest_bars_first_and_keeps_a_ragged_end() -> None:
    block = Block(NHiTSSettings(length=10, channels=1), pool=4, rate=1)
    assert block.pool(torch.arange(10.0).view(1, 1, 10)).tolist() == [[[3.0, 7.0, 9.0]]]
    assert block.body[0].in_features == 3


def test_nhits_subtracts_what_a_block_explained_from_the_reversed_series() -> None:
    settings = NHiTSSettings(
        length=16, channels=1, horizon=4, pools=(2, 1), rates=(2, 1), quantiles=(0.5,), dropout=0.0
    )
    stacks = Stacks(settings)
    series = torch.randn(3, 16, generator=seeded())
    nothing = series.new_zeros(3, 0, 16)
    first, second = stacks.blocks
    backcast, step, _ = first(series.flip(1), nothing)
    _, refinement, _ = second(series.flip(1) - backcast, nothing)
    wanted = series[:, -1:, None] + step + refinement
    assert torch.allclose(stacks(series, nothing)[0], wanted, atol=1e-6)


def test_nhits_refuses_stacks_that_run_from_fine_to_coarse() -> None:
    with pytest.raises(ValueError, match="must fall from the first stack to the last"):
        Stacks(NHiTSSettings(pools=(1, 4, 8)))


def test_patchtst_pads_the_end_by_one_stride_and_cuts_the_papers_number_of_patches() -> None:
    assert PatchTSTSettings().tokens == 16
    assert PatchTSTSettings(length=336).tokens == 42
    assert PatchTSTSettings(length=512).tokens == 64
    backbone = Backbone(PatchTSTSettings(length=128)).eval()
    x = torch.zeros(1, 1, 128)
    x[..., 120:] = torch.arange(8.0)
    seen: list[torch.Tensor] = []
    backbone.embed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    backbone(x)
    last = seen[0][0, 0, -1]
    assert torch.equal(last[8:], last[7].expand(8))
    assert last[0] < last[7]


def test_patchtst_channels_are_independent_and_share_their_weights() -> None:
    network = Forecaster(PatchTSTSettings(channels=3)).eval()
    x = torch.randn(2, 3, 128, generator=seeded())
    swapped = network(x[:, [2, 0, 1]])
    assert torch.allclose(swapped, network(x)[:, [2, 0, 1]], atol=1e-6)
    changed = x.clone()
    changed[:, 1] += torch.randn(2, 128, generator=seeded(1))
    assert torch.allclose(network(changed)[:, [0, 2]], network(x)[:, [0, 2]], atol=1e-6)


def test_patchtst_forecasts_move_and_stretch_with_their_series() -> None:
    network = Forecaster(PatchTSTSettings(channels=2)).eval()
    x = torch.randn(2, 2, 128, generator=seeded())
    assert torch.allclose(network(3.0 * x + 50.0), 3.0 * network(x) + 50.0, atol=1e-2)


def test_patchtst_adds_the_scores_of_the_layer_before() -> None:
    attention = Backbone(PatchTSTSettings()).layers[0].attention.eval()
    x = torch.randn(2, 16, 32, generator=seeded())
    _, scores = attention(x, None)
    _, both = attention(x, scores)
    assert torch.allclose(both, 2 * scores, atol=1e-6)


def test_patchtst_normalises_over_rows_and_tokens_not_within_a_token() -> None:
    norms = [m for m in Backbone(PatchTSTSettings()).modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(norms) == 6
    assert not [m for m in Backbone(PatchTSTSettings()).modules() if isinstance(m, torch.nn.LayerNorm)]


def test_patchtst_still_knows_level_and_scale_after_revin() -> None:
    network = PatchTST(PatchTSTSettings()).eval()
    x = torch.randn(1, 128, 5, generator=seeded())
    assert not torch.allclose(network(x)[1], network(4 * x + 1)[1], atol=1e-2)
    torch.nn.init.normal_(network.action.weight)
    assert not torch.allclose(network(x)[0], network(4 * x + 1)[0], atol=1e-2)


def test_patchtst_votes_the_even_mix_before_it_has_learned() -> None:
    p, _ = PatchTST(PatchTSTSettings()).eval()(torch.randn(3, 128, 5, generator=seeded()))
    assert torch.allclose(p, torch.full((3, 3), 1 / 3))


def test_the_pinball_loss_of_the_true_quantiles_is_least_and_unknown_steps_do_not_count() -> None:
    path = torch.randn(20_000, 1, generator=seeded())
    levels = torch.tensor([0.1, 0.5, 0.9])
    true = torch.quantile(path, levels).view(1, 3, 1).expand(len(path), -1, -1)
    at_truth = train_network.pinball(true, path, levels)
    assert at_truth < train_network.pinball(true + 0.2, path, levels)
    assert at_truth < train_network.pinball(true - 0.2, path, levels)
    holed = torch.cat([path, torch.full_like(path, torch.nan)], dim=1)
    assert torch.allclose(train_network.pinball(true.expand(-1, -1, 2), holed, levels), at_truth, atol=1e-6)


def learnable(rows: int, seed: int) -> WindowRows:
    """Windows whose label is the sign of their last twenty moves, with noise."""
    draw = np.random.default_rng(seed)
    windows = draw.normal(size=(rows, 32, 2)).astype(np.float32)
    push = windows[:, -20:, 0].sum(axis=1) / 4.5 + draw.normal(size=rows)
    labels = np.digitize(push, [-0.6, 0.6]).astype(np.int64)
    paths = np.repeat(push[:, None], 4, axis=1).astype(np.float32)
    return WindowRows(lambda index: windows[index], labels, np.ones(rows, np.float32), paths)


SMALL = PatchTSTSettings(length=32, channels=2, horizon=4, patch=8, stride=4, width=8, heads=2, inner=8, layers=1)
SMALL_HITS = NHiTSSettings(length=32, channels=2, horizon=4, pools=(4, 1), rates=(4, 1), width=16)
LOOP = train_network.LoopSettings(round_rows=1024, rounds_max=6, batch=128, learning_rate=5e-3)


@pytest.mark.parametrize("build", [lambda: NHiTS(SMALL_HITS), lambda: PatchTST(SMALL)], ids=["nhits", "patchtst"])
def test_a_network_learns_what_can_be_learned(build: object) -> None:
    fitted = train_network.fit(
        build, (0.1, 0.5, 0.9), learnable(6000, 1), learnable(2000, 2), seed=3, loop=LOOP._replace(rounds_max=14)
    )
    assert fitted.validation_log_loss < 1.0  # the class mix alone scores 1.09
    assert not fitted.network.training


def test_an_interrupted_fit_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    rounds: list[float] = []

    def interrupt(loss: float) -> None:
        rounds.append(loss)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    def fit(path: Path, tick: object) -> train_network.Fitted:
        return train_network.fit(
            lambda: NHiTS(SMALL_HITS),
            (0.1, 0.5, 0.9),
            learnable(2000, 1),
            learnable(500, 2),
            seed=3,
            loop=LOOP._replace(rounds_max=4),
            checkpoint=path,
            tick=tick,
        )

    whole = fit(tmp_path / "whole", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", interrupt)
    resumed = fit(tmp_path / "broken", lambda _: None)
    assert resumed.rounds == whole.rounds
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_network_fed_nan_fails_by_name_and_is_not_kept() -> None:
    rows = learnable(300, 1)
    broken = rows._replace(gather=lambda index: np.full((len(index), 32, 2), np.nan, dtype=np.float32))
    with pytest.raises(FloatingPointError, match="validation log-loss nan in round 1"):
        train_network.fit(lambda: NHiTS(SMALL_HITS), (0.1, 0.5, 0.9), broken, broken, seed=1, loop=LOOP)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    def fit(seed: int) -> train_network.Fitted:
        rows = learnable(400, 1)
        one_round = LOOP._replace(rounds_max=1)
        path = tmp_path / "checkpoint"
        return train_network.fit(
            lambda: PatchTST(SMALL), (0.1, 0.5, 0.9), rows, rows, seed=seed, loop=one_round, checkpoint=path
        )

    fit(1)
    with pytest.raises(ValueError, match="checkpoint of another run"):
        fit(2)
