"""``qt train``: fit, calibrate, check and export the models; needs the ``train`` extra."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from qt_actors.cli.say import wrong_usage

NEEDED = ("torch", "xgboost", "lightgbm", "sklearn", "skl2onnx", "onnxmltools")


def train(
    data: Annotated[list[Path], typer.Option(help="Folder of candles (SYMBOL.parquet); may be given more than once.")],
    out: Annotated[Path, typer.Option(help="Where the ONNX files and manifests go; written whole or not at all.")],
    only: Annotated[list[str] | None, typer.Option(help="xgb, lgbm, nhits or patchtst; default all four.")] = None,
    interval: Annotated[str, typer.Option(help="The models' bar; finer candles are aggregated.")] = "1h",
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 7,
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads.")] = 1,
) -> None:
    """Train the four models on candles and export them to ONNX, parity checked."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # libgomp reads it when it is loaded
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        wrong_usage(f"qt train needs {', '.join(missing)}; install them with: make setup-train")
    for folder in data:
        if not folder.is_dir():
            wrong_usage(f"--data {folder}: no such folder; give one that holds SYMBOL.parquet files")
    from exporters.onnx import ExportRefusedError  # noqa: PLC0415
    from exporters.train import train as fit_and_export  # noqa: PLC0415 # heavy libraries, this command only
    from models.candles import CandleError  # noqa: PLC0415
    from models.registry import MODEL_NAMES, ModelFileError  # noqa: PLC0415
    from models.training import TrainingError  # noqa: PLC0415

    os.nice(10)  # trading beside it must not wait
    unknown = sorted(set(only or ()) - set(MODEL_NAMES))
    if unknown:
        wrong_usage(f"--only {unknown[0]}: allowed are {', '.join(MODEL_NAMES)}")
    try:
        made = fit_and_export(data, out, models=only or MODEL_NAMES, interval=interval, seed=seed, threads=threads)
    except (CandleError, ExportRefusedError, ModelFileError, TrainingError, ValueError, OSError) as error:
        typer.echo(f"qt train: {error}", err=True)
        raise typer.Exit(1) from None
    for name, manifest in made.items():
        figures = manifest.metrics
        typer.echo(
            f"{name:9} {manifest.version}  log-loss {figures.log_loss:.4f} (base rate {figures.base_log_loss:.4f})  "
            f"ECE {figures.ece:.4f}  direction {figures.direction_hit:.1%}  out of sample, {figures.rows:,} rows"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)
