"""LightGBM: one global classifier over all symbols, eight leaves a tree (see ``models.xgb`` for why so small)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import lightgbm
import numpy as np
from lightgbm.callback import CallbackEnv
from numpy.typing import NDArray

from models.rows import FeatureRows


class LGBMSettings(NamedTuple):
    """Defaults of the fit; ``leaf_rows_min`` is the least number of rows in a leaf."""

    trees_max: int = 150
    trees_patience: int = 20
    leaves: int = 8
    learning_rate: float = 0.03
    leaf_rows_min: int = 1000
    rows_share: float = 0.7
    columns_share: float = 0.4
    l2: float = 5.0


DEFAULTS = LGBMSettings()


def fit(
    train: FeatureRows,
    validation: FeatureRows,
    *,
    seed: int,
    threads: int,
    settings: LGBMSettings = DEFAULTS,
    tick: Callable[[float], None] = lambda _: None,
) -> lightgbm.LGBMClassifier:
    """A classifier of 0 SELL, 1 HOLD, 2 BUY that was stopped where the validation log-loss was least.

    Deterministic for a seed. NaN features are missing values. ``tick`` hears the validation log-loss of every round.
    """

    def told(env: CallbackEnv) -> None:
        tick(float(env.evaluation_result_list[0][2]))

    model = lightgbm.LGBMClassifier(
        objective="multiclass",
        n_estimators=settings.trees_max,
        num_leaves=settings.leaves,
        learning_rate=settings.learning_rate,
        min_child_samples=settings.leaf_rows_min,
        subsample=settings.rows_share,
        subsample_freq=1,
        colsample_bytree=settings.columns_share,
        reg_lambda=settings.l2,
        random_state=seed,
        n_jobs=threads,
        deterministic=True,
        force_col_wise=True,
        verbose=-1,
    )
    model.fit(
        train.features,
        train.labels,
        sample_weight=train.weights,
        eval_X=validation.features,
        eval_y=validation.labels,
        eval_sample_weight=[validation.weights],
        eval_metric="multi_logloss",
        callbacks=[told, lightgbm.early_stopping(settings.trees_patience, verbose=False)],
    )
    return model


def predict(model: lightgbm.LGBMClassifier, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Uncalibrated float32[N, 3] of float32[N, F], by the rounds up to the best one."""
    return np.asarray(model.predict_proba(features), dtype=np.float32)
