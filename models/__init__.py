"""From candles to a calibrated probability.

Data flows one way, and the same code runs in training, backtest and live trading:

=================  ===============================================================================================
``bars``           the regular grid of bars, how holes are marked and bridged
``indicators``     TA-Lib calls: in batch over a history, and as streaming handles bar by bar
``market``         bitcoin, the market mean, breadth and dispersion, from the closes of all symbols
``stop_distance``  w = 1.5 × ATR(14) on 4h bars / close: scales features and labels, sizes and stops trades
``feature_table``  every feature's formula, range, warm-up and meaning; ``feature_hash``
``features``       ``FeatureStream`` and, from ``feature_batch``, ``batch_features``: the table run both ways
``windows``        the last 128 bars as the networks see them: ``WindowBuffer`` serves, ``gather_windows`` trains
``candles``        candle files of folders, checked, repaired, merged; training only
``labels``         triple barrier with the stop and target that the trader places, outcomes in R, weights
``dataset``        all of it for folders of candles: ``build_dataset``; training only
``folds``          purged and embargoed walk-forward spans
``xgb`` ``lgbm``   the tree models; ``nhits`` ``patchtst``: the networks; ``train_network`` fits those, ``fits`` is the
                   one shape of all four, ``rows`` how they are fed
``calibration``    vector scaling, vote thresholds, confidence tables
``training``       fit, calibrate and export under one roof; ``evaluation``, ``scoreboard``: what it is worth
``registry``       manifests and files: the only training by-product that the trader reads
=================  ===============================================================================================

The trading process imports ``indicators``, ``features``, ``windows`` and ``registry`` only: numpy, msgspec and TA-Lib,
no polars, torch or scikit-learn. Training::

    dataset = build_dataset([Path("klines")])           # features f32[N, F], labels i8[N], weights f32[N], ...
    edges = expanding_edges(first_test_ms, end_ms, test_ms=90 * DAY_MS, calibration_ms=90 * DAY_MS)
    for fold in walk_forward(dataset.t0_ms, dataset.t1_ms, edges, embargo_ms=2 * DAY_MS):
        rows = fold.train                               # int64 row numbers, also fold.calibration, fold.test
        trees.fit(dataset.features[rows], dataset.labels[rows], sample_weight=dataset.weights[rows])
        batch = dataset.windows(rows[:512])             # float32[n, WINDOW_BARS, len(CHANNELS)], gathered when asked
        ahead = dataset.future_moves(rows[:512], 48)    # float32[n, 48], in stop distances
        result = dataset.r_long[fold.test]              # of a long from the next open, in stop distances, after costs

Serving::

    stream = FeatureStream(symbols, open_time_ms, ohlcv)          # int64[B], float64[S, B, 5], NaN where no bar is
    frame = stream.update(open_time_ms, bars)                     # one closed bar of all symbols: FeatureFrame
    frame.features, frame.eligible, frame.stop_distance, ...      # float32[S, F], bool[S], float64[S]
    windows = stream.windows()                                    # float32[S, WINDOW_BARS, 5]
"""
