"""Convolutional and recurrent networks: torch's own numbers, and alone as in company."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from nntune import autograd
from nntune.autograd.augmentation import augmented
from nntune.autograd.modules import module_of
from nntune.families import Convolutional, Grid, Layered, Recurrent
from nntune.training import Examples, train
from nntune.trials import Progress, Setting

IMAGE, SERIES = Grid(1, (8, 8)), Grid(2, (12,))
CNN = Convolutional(64, IMAGE, 2, 4, 3, "batch", "max", "flatten", 8, 3)
SHAPES: dict[str, Layered] = {
    "image": CNN,
    "no norm": CNN._replace(norm="none", pool="none", gather="mean", head=0),
    "shift": CNN._replace(augment="shift"),
    "series": Convolutional(24, SERIES, 2, 4, 5, "batch", "max", "mean", 0, 3, "gelu"),
    "residual": CNN._replace(block_type="residual", activation="silu"),
    "residual series, no norm": Convolutional(
        24, SERIES, 2, 4, 5, "none", "max", "mean", 0, 3, block_type="residual"
    ),
    "gru": Recurrent(24, SERIES, "gru", 1, 6, "last", 3),
    "lstm": Recurrent(24, SERIES, "lstm", 2, 5, "mean", 3),
    "beside": Recurrent(26, SERIES, "gru", 1, 4, "max", 3),
    "gaps": Recurrent(48, SERIES._replace(has_gaps=True), "gru", 1, 4, "last", 3),
}


def examples_for(shape: Layered, rows: int = 50) -> Examples:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(rows + 20, shape.inputs, generator=draw)
    y = x[:, :3].argmax(1)
    return Examples(x[:rows], y[:rows], x[rows:], y[rows:], 3, 1.0)


def setting_for(shape: Layered, **changes) -> Setting:
    return Setting(shape, 16, "adam", "log_loss", patience=50, seed=7)._replace(**changes)


def trial(number: int, **changes) -> Progress:
    return Progress(number, lr=0.01, l1=0.0, l2=1e-4, dropout=0.0, epochs=50)._replace(**changes)


def as_module(shape: Layered, flat: np.ndarray) -> nn.Module:
    module, place, state = module_of(shape).to_empty(device="cpu"), 0, {}
    for part in shape.parts:
        count = int(np.prod(part.size))
        state[part.name] = torch.from_numpy(flat[place : place + count].copy()).view(part.size)
        place += count
    module.load_state_dict(state, strict=False)
    return module


def as_flat(shape: Layered, module: nn.Module) -> np.ndarray:
    state = module.state_dict()
    return torch.cat([state[part.name].flatten() for part in shape.parts]).numpy()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "shift"])
def test_an_epoch_equals_torchs_own_training(name, optimizer) -> None:
    shape = SHAPES[name]
    examples, setting = examples_for(shape), setting_for(shape, optimizer=optimizer)
    module = as_module(shape, autograd.initial(shape, 7, 3)).train()
    weights = [module.get_parameter(p.name) for p in shape.parts if p.kind == "weight"]
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    extra = {"momentum": 0.9} if optimizer == "sgd" else {}
    steps = kinds[optimizer](module.parameters(), lr=0.01, **extra)
    order = np.random.default_rng(np.random.SeedSequence([7, 1, 0])).permutation(50)
    for rows in torch.from_numpy(order).split(16):
        loss = nn.functional.cross_entropy(module(examples.x[rows]), examples.y[rows])
        loss = loss + 1e-4 * sum(w.square().sum() for w in weights)
        steps.zero_grad()
        loss.backward()
        steps.step()
    (ours,) = train([trial(3)], setting, examples, until=1)
    np.testing.assert_allclose(ours.parameters, as_flat(shape, module), atol=2e-5)


@pytest.mark.parametrize("rows", [50, 1500])
def test_batch_normalisation_has_the_statistics_of_the_averaged_weights(rows) -> None:
    shape = CNN._replace(block_type="residual")
    examples = examples_for(shape, rows)
    (ours,) = train([trial(3)], setting_for(shape), examples, until=2)

    module = as_module(shape, ours.average)
    draw = np.random.default_rng(np.random.SeedSequence([7, 3])).permutation(rows)[:1024]
    batches = torch.from_numpy(draw).tensor_split(1 if rows == 50 else 4)
    update_bn([examples.x[part] for part in batches], module)
    np.testing.assert_allclose(ours.average, as_flat(shape, module), atol=1e-5)
    assert not np.allclose(ours.parameters, ours.average, atol=1e-2)


@pytest.mark.parametrize("name", SHAPES)
def test_a_member_equals_itself_alone_to_the_bit(name) -> None:
    shape = SHAPES[name]
    examples, setting = examples_for(shape), setting_for(shape)
    members = [trial(n, lr=0.003 * (n + 1), dropout=0.1 * n) for n in range(4)]
    together = train(members, setting, examples, until=3)
    for member, other in zip(members, together, strict=True):
        (alone,) = train([member], setting, examples, until=3)
        assert alone.curve == other.curve
        assert np.array_equal(alone.parameters, other.parameters)


@pytest.mark.parametrize("name", ["image", "shift", "lstm"])
def test_training_cut_at_a_rung_goes_on_as_if_it_had_not_been(name) -> None:
    shape = SHAPES[name]
    examples, setting = examples_for(shape), setting_for(shape)
    (whole,) = train([trial(2, dropout=0.2)], setting, examples, until=4)
    halfway = train([trial(2, dropout=0.2), trial(5)], setting, examples, until=2)
    (rest,) = train(halfway[:1], setting, examples, until=4)
    assert (rest.curve, rest.best_epoch) == (whole.curve, whole.best_epoch)
    assert np.array_equal(rest.best, whole.best)


def test_training_leaves_the_random_numbers_of_the_process_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train([trial(0, dropout=0.5)], setting_for(CNN), examples_for(CNN), until=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", SHAPES)
def test_prediction_is_what_the_module_says_in_evaluation(name) -> None:
    shape = SHAPES[name]
    x = examples_for(shape).x
    flat = autograd.initial(shape, 0, 1)
    with torch.no_grad():
        expected = as_module(shape, flat).eval()(x).numpy()
    np.testing.assert_allclose(autograd.outputs(shape, flat, x.numpy()), expected, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_come_first_and_everything_is_counted(name) -> None:
    shape = SHAPES[name]
    kinds = [part.kind for part in shape.parts]
    assert kinds == sorted(kinds, key=["weight", "bias", "buffer"].index)
    flat = autograd.initial(shape, 0, 0)
    assert len(flat) == shape.parameters
    assert shape.weights == sum(np.prod(p.size) for p in shape.parts if p.kind == "weight")


def test_states_behind_the_end_of_a_series_do_not_count() -> None:
    grid = Grid(1, (6,), has_gaps=True)
    for states in ("last", "mean", "max"):
        shape = Recurrent(12, grid, "gru", 1, 4, states, 2)
        flat = autograd.initial(shape, 0, 0)
        short = np.zeros((2, 6, 2), np.float32)
        short[:, :4, 0] = [1.0, -2.0, 0.5, 3.0]
        short[:, 4:, 1] = 1.0  # missing
        short[1, 4:, 0] = 9.0  # whatever stands there
        one, other = autograd.outputs(shape, flat, short.reshape(2, 12))
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", ["shift", "flip", "crop"])
@pytest.mark.parametrize("grid", [Grid(2, (8, 10)), Grid(2, (20,)), Grid(2, (20,), has_gaps=True)])
def test_augmentation_is_fixed_by_seed_and_step(kind, grid) -> None:
    shape = CNN._replace(inputs=grid.features + 1, grid=grid, augment=kind)
    x = torch.randn(6, grid.features + 1, generator=torch.Generator().manual_seed(0))
    once, again = augmented(x, shape, (1, 5)), augmented(x, shape, (1, 5))
    assert torch.equal(once, again)
    assert not torch.equal(once, augmented(x, shape, (1, 6)))
    assert torch.equal(once[:, -1], x[:, -1])
    assert (once.shape, once.min() >= x.min(), once.max() <= x.max()) == (x.shape, True, True)


def test_a_flip_is_a_mirror_image() -> None:
    shape = CNN._replace(augment="flip")
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    mirrored = x.view(40, 8, 8).flip(2).reshape(40, 64)
    found = augmented(x, shape, (0, 0))
    is_kept = torch.isclose(found, x, atol=1e-5).all(1)
    is_mirrored = torch.isclose(found, mirrored, atol=1e-5).all(1)
    assert bool((is_kept ^ is_mirrored).all())
    assert 5 < int(is_kept.sum()) < 35


def test_a_step_that_is_missing_moves_with_its_number() -> None:
    grid = Grid(2, (9,), has_gaps=True)
    shape = CNN._replace(inputs=grid.features, grid=grid, augment="shift")
    steps = torch.arange(9.0).expand(6, 2, 9)
    x = torch.stack([steps, (steps > 5).float()], 3).flatten(1)
    found = augmented(x, shape, (0, 0)).view(6, 2, 9, 2)
    torch.testing.assert_close((found[..., 0] > 5.5).float(), found[..., 1], atol=1e-5, rtol=0)
    assert not torch.equal(found.flatten(1), x)
