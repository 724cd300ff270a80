"""What the models make of a folder of candles."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from tests.cli_board import HOUR, MODELS, NOW


@pytest.fixture(scope="module")
def candles(tmp_path_factory):
    """A folder of hourly random walks: two symbols of 700 bars, one too young to be scored."""
    folder = tmp_path_factory.mktemp("candles")
    rng = np.random.default_rng(11)
    for symbol, bars in (("BTCUSDT", 700), ("ETHUSDT", 700), ("NEWUSDT", 40)):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
        opened = np.concatenate([[100.0], close[:-1]])
        high = np.maximum(opened, close) * (1 + rng.random(bars) * 0.004)
        low = np.minimum(opened, close) * (1 - rng.random(bars) * 0.004)
        first = NOW // HOUR * HOUR + (700 - bars) * HOUR
        frame = pl.DataFrame(
            {
                "open_time": first + np.arange(bars) * HOUR,
                "open": opened,
                "high": high,
                "low": low,
                "close": close,
                "volume": rng.random(bars) * 1000,
            }
        )
        frame.write_parquet(folder / f"{symbol}.parquet")
    return folder


def test_predict_says_what_the_models_make_of_the_newest_bar(qt, candles):
    got = qt("predict", "btcusdt", "--data", str(candles), "--json")
    assert got.exit_code == 0, got.stderr
    told = json.loads(got.stdout)
    assert told["bar_open_ms"] == NOW // HOUR * HOUR + 699 * HOUR
    assert told["close_time_ms"] == told["bar_open_ms"] + HOUR
    assert told["line"].startswith("[ENSEMBLE] BTCUSDT: ")
    assert [v["model"] for v in told["votes"]] == list(MODELS)
    for vote in told["votes"]:
        if vote["action"] is not None:
            assert vote["p_sell"] + vote["p_hold"] + vote["p_buy"] == pytest.approx(1, abs=1e-3)
    assert told["market_symbols"] == 3
    assert 0 < told["stop_pct"] <= told["sl_pct"], "as placed: by ATR, never wider than the limit"
    assert told["target_pct"] / told["stop_pct"] == pytest.approx(told["tp_pct"] / told["sl_pct"])


def test_predict_shows_a_screen_with_the_call_first_and_a_line_a_model(qt, candles):
    told = json.loads(qt("predict", "btcusdt", "--data", str(candles), "--json").stdout)
    first, blank, *rest = qt("predict", "btcusdt", "--data", str(candles), COLUMNS="80").stdout.splitlines()
    said = "no entry: " if told["action"] == "HOLD" else f"{told['action']}, confidence {told['confidence']:.2f}"
    assert first.startswith(f"BTCUSDT  2023-12-14 02:00 UTC  {said}")
    assert blank == ""
    shown = {line.split()[0]: line.split()[1] for line in rest[: len(MODELS)]}
    votes = {v["model"]: v["action"] or "–" for v in told["votes"]}
    assert list(shown.values()) == [votes[model] for model in MODELS]
    assert max(map(len, rest)) <= 80


def test_predict_on_a_symbol_too_young_says_how_far_it_is(qt, candles):
    told = json.loads(qt("predict", "NEWUSDT", "--data", str(candles), "--json").stdout)
    assert told["action"] == "HOLD"
    assert told["warmup"].startswith("40/")


def test_predict_without_models_names_every_file_and_the_command_that_makes_it(qt, candles, tmp_path):
    (tmp_path / "no models").mkdir()
    got = qt("predict", "BTCUSDT", "--data", str(candles), QT_MODELS_DIR=str(tmp_path / "no models"))
    assert got.exit_code == 1
    lines = got.stderr.splitlines()
    assert [line.split(":")[1].rsplit("/", 1)[1] for line in lines] == [f"{m}.json" for m in MODELS]
    assert all("qt train" in line for line in lines)


def test_predict_of_an_unknown_symbol_or_folder_says_what_there_is(qt, candles, tmp_path):
    got = qt("predict", "NOUSDT", "--data", str(candles))
    assert got.exit_code == 1
    assert "no usable candles of NOUSDT; nearest: NEWUSDT" in got.stderr
    got = qt("predict", "BTCUSDT", "--data", str(tmp_path / "nowhere"))
    assert got.exit_code == 2
    assert "no such folder" in got.stderr
