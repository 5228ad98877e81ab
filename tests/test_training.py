"""The learner: equal to the reference library, and a member equal to itself in any stack."""

import gc
import weakref
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from nntune import networks
from nntune.networks import (
    ACTIVATIONS,
    Dropout,
    Perceptrons,
    _hash_numpy,
    _hash_torch,
    fastest_product,
    initial,
    views,
)
from nntune.products import bind, bind_sum
from nntune.study.records import PRODUCTS
from nntune.training import Examples, Stack, fold_seed, train
from nntune.trials import Product, Progress, Setting, Shape


def setting_for(examples: Examples, hidden=(16, 8), **changes) -> Setting:
    shape = Shape(examples.x.shape[1], hidden, examples.outputs, changes.pop("activation", "relu"))
    metric = "log_loss" if examples.classes else "rmse"
    start = Setting(shape, batch_size=32, optimizer="adam", metric=metric, patience=50, seed=7)
    return start._replace(**changes)


def trial(number: int, **changes) -> Progress:
    start = Progress(number, lr=0.01, l1=0.0, l2=0.0, dropout=0.0, epochs=50)
    return start._replace(**changes)


def as_sequential(flat: np.ndarray, shape: Shape) -> nn.Sequential:
    modules = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
    layers: list[nn.Module] = []
    for weight, bias in views(torch.from_numpy(flat)[None], shape):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight[0].clone(), bias[0, :, 0].clone()
        layers += [linear, modules[shape.activation]()]
    return nn.Sequential(*layers[:-1])


def reference(examples: Examples, setting: Setting, member: Progress, steps: int) -> np.ndarray:
    """Parameters after steps of torch's own autograd and optimizer on the same batches."""
    network = as_sequential(initial(setting.shape, setting.seed, member.number), setting.shape)
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    extra = {"momentum": 0.9} if setting.optimizer == "sgd" else {}
    optimizer = kinds[setting.optimizer](network.parameters(), lr=member.lr, **extra)
    order = np.random.default_rng(np.random.SeedSequence([setting.seed, 1, 0]))
    rows = torch.from_numpy(order.permutation(len(examples.x)))
    weights = [p for p in network.parameters() if p.ndim == 2]
    for batch in rows.split(setting.batch_size)[:steps]:
        output = network(examples.x[batch])
        if examples.classes:
            loss = nn.functional.cross_entropy(output, examples.y[batch])
        else:
            loss = nn.functional.mse_loss(output[:, 0], examples.y[batch])
        loss = loss + member.l1 * sum(w.abs().sum() for w in weights)
        loss = loss + member.l2 * sum(w.square().sum() for w in weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    parts = [p.detach().flatten() for p in network.parameters() if p.ndim == 2]
    parts += [p.detach() for p in network.parameters() if p.ndim == 1]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", ["three_classes", "regression"])
def test_a_stack_of_one_equals_torch_after_20_steps(product, optimizer, activation, task, request):
    examples = request.getfixturevalue(task)
    setting = setting_for(
        examples, activation=activation, optimizer=optimizer, product=product, batch_size=8
    )
    member = trial(3, l1=1e-3, l2=1e-3)
    with torch.inference_mode():  # 150 rows in batches of 8: 18 whole steps and one of 6 rows
        stack = Stack([member], setting, examples)
        stack.train_epoch(deadline=float("inf"))
    ours = stack.unstack()[0].parameters

    expected = reference(examples, setting, member, steps=20)

    assert np.abs(ours - expected).max() < 1e-5


def test_large_networks_fold_the_penalty_into_the_update(three_classes):
    setting = setting_for(three_classes, hidden=(160, 160), batch_size=8)
    member = trial(0, lr=1e-3, l1=1e-3, l2=1e-2)
    with torch.inference_mode():
        stack = Stack([member], setting, three_classes)
        stack.train_epoch(deadline=float("inf"))

    expected = reference(three_classes, setting, member, steps=20)

    assert np.abs(stack.unstack()[0].parameters - expected).max() < 1e-5


def test_adam_for_other_devices_equals_the_fused_one(three_classes):
    setting = setting_for(three_classes)
    members = [trial(0, lr=0.01, l2=1e-3), trial(1, lr=0.003, l1=1e-3)]
    results = []
    for is_fused in (True, False):
        with torch.inference_mode():
            stack = Stack(members, setting, three_classes)
            if not is_fused:
                stack._optimizer._update = stack._optimizer._adam
            stack.train_epoch(deadline=float("inf"))
        results.append(stack.unstack()[1].parameters)

    assert np.abs(results[0] - results[1]).max() < 1e-6


def mixed(count: int) -> list[Progress]:
    return [
        trial(n, lr=0.002 * (n + 1), l1=1e-4 * (n % 2), l2=1e-4 * (n % 3), dropout=0.2 * (n % 2))
        for n in range(count)
    ]


def same(a: Progress, b: Progress) -> bool:
    arrays = ("parameters", "first", "second", "average", "best")
    clocks = {"seconds": 0, "elapsed": 0}
    numbers = a._replace(**clocks, **dict.fromkeys(arrays)) == b._replace(
        **clocks, **dict.fromkeys(arrays)
    )
    return numbers and all(np.array_equal(getattr(a, key), getattr(b, key)) for key in arrays)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("hidden", [(8,), (33, 17), (128, 128), (64, 64, 64)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("task", ["three_classes", "regression"])
def test_a_member_of_a_stack_equals_itself_alone_to_the_bit(
    product, hidden, optimizer, task, request
):
    examples = request.getfixturevalue(task)
    setting = setting_for(examples, hidden, optimizer=optimizer, product=product)
    members = mixed(5)

    together = train(members, setting, examples, until=4)
    alone = [train([member], setting, examples, until=4)[0] for member in members]

    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_under_dropout_equal_autograd(activation, three_classes):
    shape = Shape(6, (16, 8), 3, activation)
    flat = torch.from_numpy(initial(shape, 7, 0))[None]
    noise = Dropout(np.array([0.3]), np.array([5]), shape.hidden, 20, torch.device("cpu"))
    gradients = torch.empty_like(flat)
    network = Perceptrons(shape, flat, 20, "torch", gradients, noise)
    network.inputs.copy_(three_classes.x[:20])
    network.begin(3)
    network.forward()
    network.error.copy_(torch.linspace(-1, 1, 60).view(1, 3, 20))
    network.backward()

    masks = [torch.tensor(mask) for mask in noise.draw(3, 20)]
    leaf = flat.clone().requires_grad_()
    activate = {"relu": torch.relu, "tanh": torch.tanh}.get(activation) or getattr(
        nn.functional, activation
    )
    h = three_classes.x[:20].t()[None]
    for layer, (weight, bias) in enumerate(views(leaf, shape)):
        h = weight @ h + bias
        if layer < 2:
            h = activate(h) * masks[layer]
    h.backward(torch.linspace(-1, 1, 60).view(1, 3, 20))

    assert torch.allclose(network.outputs, h, atol=1e-6)
    assert torch.allclose(gradients, leaf.grad, atol=1e-5)


def test_rows_of_a_view_are_gathered_as_those_of_a_copy(three_classes):
    view = three_classes._replace(x=three_classes.x[:, :4], x_valid=three_classes.x_valid[:, :4])
    copy = view._replace(x=view.x.contiguous())  # which numpy gathers

    both = [train(mixed(3), setting_for(view), each, until=3) for each in (view, copy)]

    assert not view.x.is_contiguous()
    assert all(same(a, b) for a, b in zip(*both, strict=True))


def test_training_on_equals_training_through(three_classes):
    setting = setting_for(three_classes)
    members = mixed(4)

    through = train(members, setting, three_classes, until=6)
    halfway = train(members, setting, three_classes, until=2)
    on = train(halfway, setting, three_classes, until=6)

    assert all(same(a, b) for a, b in zip(through, on, strict=True))


def test_taking_survivors_then_training_equals_training_then_taking(regression):
    setting = setting_for(regression)
    members = mixed(6)
    first = train(members, setting, regression, until=2)

    taken_then_trained = train(first[1::2], setting, regression, until=5)
    trained_then_taken = train(first, setting, regression, until=5)[1::2]

    pairs = zip(taken_then_trained, trained_then_taken, strict=True)
    assert all(same(a, b) for a, b in pairs)


def test_a_diverging_member_leaves_the_others_as_they_were(regression):
    setting = setting_for(regression, optimizer="sgd")
    members = mixed(4)
    wild = [*members[:2], trial(9, lr=1e6), *members[2:]]

    calm = train(members, setting, regression, until=5)
    others = train(wild, setting, regression, until=5)

    assert others.pop(2).outcome == "diverged"
    assert all(same(a, b) for a, b in zip(calm, others, strict=True))


def test_a_learning_rate_of_almost_nothing_does_not_move(three_classes):
    setting = setting_for(three_classes, optimizer="sgd")
    still, moved = train([trial(0, lr=1e-30), trial(1)], setting, three_classes, until=1)

    assert np.array_equal(still.parameters, initial(setting.shape, setting.seed, 0))
    assert not np.array_equal(moved.parameters, initial(setting.shape, setting.seed, 1))


def test_patience_stops_a_member_and_keeps_its_best_epoch(three_classes):
    setting = setting_for(three_classes, hidden=(64,), patience=3)
    member = train([trial(0, lr=0.05, epochs=200)], setting, three_classes, until=200)[0]

    assert member.outcome == "early stop"
    assert member.epoch == member.best_epoch + 3 == len(member.curve)
    assert member.value == min(member.curve) == member.curve[member.best_epoch - 1]


def test_what_is_scored_is_the_average_of_the_weights_over_the_last_steps(regression):
    setting = setting_for(regression, batch_size=150)  # one step an epoch
    weights = [
        train([trial(0, epochs=99)], setting, regression, until=epoch)[0].parameters
        for epoch in range(1, 13)
    ]
    average = weights[0]
    for step, after in enumerate(weights[1:], 1):
        share = max(0.01, 9 / (9 + step))
        average = average + np.float32(share) * (after - average)
    member = train([trial(0, epochs=99)], setting, regression, until=12)[0]

    assert np.abs(member.average - average).max() < 1e-6


def test_the_best_snapshot_scores_the_best_value(regression):
    setting = setting_for(regression, hidden=(64,))
    member = train([trial(0, lr=0.05, epochs=30)], setting, regression, until=30)[0]
    network = as_sequential(member.best, setting.shape)
    with torch.no_grad():
        error = network(regression.x_valid)[:, 0] - regression.y_valid

    assert member.outcome == "epochs"
    assert error.square().mean().sqrt().item() == pytest.approx(member.value, rel=1e-5)


def test_a_passed_deadline_keeps_the_last_whole_epoch(three_classes):
    setting = setting_for(three_classes)
    trained = train([trial(0)], setting, three_classes, until=2)
    stopped = train(trained, setting, three_classes, until=9, deadline=0.0)[0]

    assert (stopped.outcome, stopped.epoch) == ("time", 2)
    assert np.array_equal(stopped.best, trained[0].best)


def test_dropout_drops_the_rate_and_keeps_the_mean():
    rates, keys = np.array([0.0, 0.25, 0.5]), np.array([11, 12, 13])
    dropout = Dropout(rates, keys, (40, 30), rows=64, device=torch.device("cpu"))
    drawn = []
    for step in range(50):
        masks = [torch.tensor(mask) for mask in dropout.draw(step, 64)]
        drawn.append(torch.cat([mask.flatten(1) for mask in masks], 1))
    masks = torch.stack(drawn)  # (steps, M, units x rows)

    kept = (masks > 0).double().mean((0, 2))
    assert kept.tolist() == pytest.approx(1 - rates, abs=0.005)  # 224,000 draws: sd 0.001
    assert masks.double().mean((0, 2)).tolist() == pytest.approx([1, 1, 1], abs=0.01)
    agree = (masks[:-1] > 0).double()[:, 2] - 0.5  # neighbouring steps are independent
    assert abs((agree * ((masks[1:] > 0).double()[:, 2] - 0.5)).mean()) < 0.002


def test_noise_of_a_step_does_not_depend_on_the_steps_before():
    make = lambda: Dropout(np.array([0.5]), np.array([5]), (16,), 32, torch.device("cpu"))  # noqa: E731
    one, other = make(), make()
    steps = 2 * one._ahead + 3  # in the third block
    for step in range(steps):
        one.draw(step, 32)

    assert np.array_equal(one.draw(steps, 32)[0], other.draw(steps, 32)[0])
    assert not np.array_equal(one.draw(steps, 32)[0], other.draw(steps + 1, 32)[0])


def test_a_network_that_is_no_longer_needed_is_freed_at_once():
    shape = Shape(6, (16, 8), 3)
    flat = torch.from_numpy(initial(shape, 7, 0))[None]
    noise = Dropout(np.array([0.3]), np.array([5]), shape.hidden, 20, torch.device("cpu"))
    network = Perceptrons(shape, flat, 20, "numpy", torch.empty_like(flat), noise)
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()


def test_noise_is_the_same_with_the_operations_of_other_devices():
    place, start = torch.arange(64)[None] * 977, torch.tensor([[-5], [2**40]])
    ours, theirs = torch.empty(2, 64, dtype=torch.int64), torch.empty(2, 64, dtype=torch.int64)
    _hash_numpy(place, start, ours, torch.empty_like(ours))
    _hash_torch(place, start, theirs, torch.empty_like(ours))

    assert torch.equal(ours, theirs)


def test_the_products_agree():
    a, b = torch.rand(3, 5, 7), torch.rand(1, 7, 11)
    results = []
    for product in PRODUCTS:
        out = torch.empty(3, 5, 11)
        bind(product, a, b, out)()
        results.append(out)

    assert all(torch.allclose(result, a @ b) for result in results)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_sums_of_rows_agree(product):
    a, out = torch.rand(3, 5, 7), torch.empty(3, 5, 1)
    bind_sum(product, a, out)()

    assert torch.allclose(out, a.sum(2, keepdim=True))


def test_mixed_is_numpy_for_small_layers_and_torch_for_large_ones():
    sizes = ((128, 128, 128), (128, 128, 129))
    calls = [
        bind("mixed", torch.ones(2, i, k), torch.ones(2, k, j), torch.empty(2, i, j))
        for i, k, j in sizes
    ]

    assert [call.func is np.matmul for call in calls] == [True, False]


@pytest.mark.parametrize(
    ("small", "large", "product"),
    [
        (1.5, 1.5, "numpy"),
        (3, 0.95, "numpy"),
        (3, 0.3, "mixed"),
        (1.1, 2, "torch"),
        (0.5, 0.5, "torch"),
    ],
)
def test_the_product_follows_what_is_measured(small, large, product, monkeypatch):
    def gain(shape, rows, members):
        return large if members == 1 else small

    monkeypatch.setattr(networks, "_gain", gain)

    assert fastest_product() == product


def test_the_product_is_chosen_by_a_measurement():
    assert fastest_product() in PRODUCTS


def test_the_products_are_known_to_a_definition():
    assert set(PRODUCTS) == set(get_args(Product))


def test_a_curve_is_the_mean_over_the_folds(folds):
    setting = setting_for(folds)
    (member,) = train([trial(2, dropout=0.2)], setting, folds, until=6)

    parts = [
        train([trial(2, dropout=0.2)], setting._replace(seed=fold_seed(7, n)), fold, until=6)[0]
        for n, fold in enumerate(each._replace(others=()) for each in folds.folds)
    ]

    assert member.curve == tuple(
        sum(values) / 3 for values in zip(*(p.curve for p in parts), strict=True)
    )
    assert member.value == min(member.curve)
    assert np.array_equal(member.average, np.concatenate([part.average for part in parts]))


def test_the_best_networks_of_all_folds_are_those_of_one_epoch(folds):
    setting = setting_for(folds, patience=5)
    (member,) = train([trial(0, lr=0.1)], setting, folds, until=50)

    (again,) = train([trial(0, lr=0.1)], setting, folds, until=member.best_epoch)

    assert member.outcome == "early stop"
    assert np.array_equal(member.best, again.average)


def test_a_member_with_folds_equals_itself_alone_and_cut(folds):
    setting = setting_for(folds)
    members = mixed(4)

    together = train(members, setting, folds, until=5)
    alone = [train([member], setting, folds, until=5)[0] for member in members]
    cut = train(train(members, setting, folds, until=2), setting, folds, until=5)

    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
    assert all(same(a, b) for a, b in zip(together, cut, strict=True))


def test_a_member_that_diverges_on_one_fold_has_failed(folds):
    broken = folds.others[1]._replace(x_valid=folds.others[1].x_valid * float("nan"))
    examples = folds._replace(others=(folds.others[0], broken))

    (member,) = train([trial(0)], setting_for(examples), examples, until=3)

    assert (member.outcome, member.epoch, member.best_epoch) == ("diverged", 1, 0)
