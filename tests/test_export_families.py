"""Convolutional and recurrent networks as ONNX predict what the bundle predicts."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bundle import made
from test_export import answers

from nntune import autograd
from nntune.bundle import Bundle, Predictor
from nntune.data import Request
from nntune.errors import UsageError
from nntune.export.graph import onnx_model
from nntune.families import Convolutional, Grid, Layered, Own, Recurrent

IMAGES, SERIES, ENDING = Grid(1, (8, 6)), Grid(2, (9,)), Grid(2, (9,), has_gaps=True)
CNN = Convolutional(48, IMAGES, 2, 4, 3, "batch", "max", "flatten", 5, 3)
SHAPES: dict[str, Layered] = {
    "image": CNN,
    "image, even kernel": CNN._replace(
        kernel=4, norm="none", pool="none", gather="mean", head=0, activation="gelu"
    ),
    "series": Convolutional(18, SERIES, 2, 4, 5, "batch", "max", "mean", 0, 3, "silu"),
    "ending series": Convolutional(36, ENDING, 1, 4, 3, "batch", "none", "mean", 0, 3, "tanh"),
    "image, residual": CNN._replace(block_type="residual", norm="none", kernel=4),
    "series, residual": Convolutional(
        18, SERIES, 2, 4, 5, "batch", "max", "mean", 0, 3, "gelu", block_type="residual"
    ),
    "image, gru": Recurrent(48, IMAGES, "gru", 1, 5, "last", 3),
    **{
        f"{states} of {cell}": Recurrent(18, SERIES, cell, 2, 5, states, 3)
        for cell in ("gru", "lstm")
        for states in ("last", "mean", "max")
    },
    **{
        f"{states} of ending series": Recurrent(36, ENDING, "gru", 1, 5, states, 3)
        for states in ("last", "mean", "max")
    },
}


def numbers(grid: Grid) -> np.ndarray[Any, Any]:  # (60, channels, *size)
    x = np.random.default_rng(3).normal(2, 3, (60, grid.channels, *grid.size))
    if grid.has_gaps:
        for row, end in enumerate(np.arange(60) % 8 + 2):
            x[row, :, end:] = np.nan
    return x


def network(shape: Layered, tmp_path: Path) -> tuple[Bundle, str]:
    """An untrained network on arrays, whose running means are no longer what they begin with."""
    grid = shape.grid
    assert grid is not None
    path = tmp_path / f"{grid.features}.npz"
    x = numbers(grid)
    np.savez(path, X=x[:, 0] if len(grid.size) == 2 else x, y=np.arange(60) % 3)
    source = str(path)
    flat = autograd.initial(shape, 1, 2)
    flat += np.random.default_rng(5).uniform(-0.1, 0.1, len(flat)).astype(np.float32)
    found = made(Request(source))
    return replace(found, shapes=(shape,), parameters=(flat,)), source


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # it does so
@pytest.mark.parametrize("name", SHAPES)
def test_onnx_predicts_what_the_bundle_predicts(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    found, source = network(shape, tmp_path)
    assert shape.grid is not None

    inputs = {"images" if shape.grid == IMAGES else "series": numbers(shape.grid)}
    label, probabilities = answers(onnx_model(found), inputs)

    predictor = Predictor(found)
    assert probabilities == pytest.approx(predictor.predict_proba(source), abs=1e-5)
    assert (label == predictor.predict(source)).all()
    assert len(np.unique(probabilities[:, 0].round(6))) > 20


def test_onnx_averages_networks_of_two_families(tmp_path: Path) -> None:
    found, source = network(SHAPES["series"], tmp_path)
    other, _ = network(SHAPES["last of gru"], tmp_path)
    both = replace(
        found, shapes=(*found.shapes, *other.shapes), parameters=found.parameters + other.parameters
    )

    _, probabilities = answers(onnx_model(both), {"series": numbers(SERIES)})

    expected = Predictor(both).predict_proba(source)
    assert probabilities == pytest.approx(expected, abs=1e-5)


def test_columns_beside_a_series_stay_columns(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    wave = np.sin(np.arange(60) / 3)
    lines = [f"{v:.4f},{'ab'[n % 2]},{n}" for n, v in enumerate(wave)]
    path = tmp_path / "w.csv"
    path.write_text("\n".join(["y,day,t", *lines]) + "\n")
    request = Request(str(path), "y", time="t", lags=4)
    found = replace(made(request), data=asdict(request))
    inputs = sum(len(feature["names"]) for feature in found.encoder["features"])
    shape = Recurrent(inputs, Grid(1, (4,)), "gru", 1, 5, "last", 1)
    flat = draw.normal(size=shape.parameters).astype(np.float32)
    found = replace(found, shapes=(shape,), parameters=(flat,))
    past = np.stack([wave[n - 4 : n] for n in range(4, 60)]).round(4)[:, None]

    (value,) = answers(
        onnx_model(found), {"series": past, "day": np.array([["ab"[n % 2]] for n in range(4, 60)])}
    )

    with pytest.warns(UserWarning, match="4 rows lack some of the last 4 values of y"):
        expected = Predictor(found).predict(str(path))[4:]
    assert value == pytest.approx(expected, abs=1e-5 * found.target_scale)


def test_the_users_own_network_is_not_written(tmp_path: Path) -> None:
    found, _ = network(CNN, tmp_path)
    own = Own(48, IMAGES, "net.py", "Net", (), 3, ())
    with pytest.raises(UsageError) as caught:
        onnx_model(replace(found, shapes=(own,), parameters=(np.zeros(0, np.float32),)))
    assert str(caught.value) == (
        "--format onnx knows no code of net.py; --format torch has its weights, and "
        "torch.onnx.export writes the module."
    )
