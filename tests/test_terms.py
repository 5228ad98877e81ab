"""Sparse inputs: equal to torch's SparseAdam, and a member equal to itself in any stack."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from torch import nn

from nntune.networks import initial, views
from nntune.terms import occurrence
from nntune.training import Examples, Stack, train
from nntune.trials import Progress, Setting, Shape

DENSE, TERMS = 3, 40


def texts(rows: int, seed: int) -> csr_array:
    """Rows of some terms, the first of which are much more common."""
    rng = np.random.default_rng(seed)
    table = random_array((rows, TERMS), density=0.1, format="lil", dtype=np.float32, rng=rng)
    table[rng.integers(rows, size=rows // 2), 0] = 0.5
    return csr_array(table.tocsr(), dtype=np.float32)


def examples_of(classes: int, dense: int = DENSE) -> Examples:
    rng = np.random.default_rng(1)
    x, x_valid = texts(110, 2), texts(30, 3)

    def y(x: csr_array) -> torch.Tensor:
        sums = (x @ np.arange(TERMS, dtype=np.float32)) % 7
        return torch.from_numpy(sums.astype(np.int64) % classes if classes else sums)

    blocks = [rng.standard_normal((len_, dense)).astype(np.float32) for len_ in (110, 30)]
    return Examples(
        torch.from_numpy(blocks[0]), y(x), torch.from_numpy(blocks[1]), y(x_valid), classes, 1.0,
        terms=x, terms_valid=x_valid,
    )  # fmt: skip


def setting_for(examples: Examples, hidden=(8,), **changes) -> Setting:
    inputs = examples.x.shape[1] + TERMS
    shape = Shape(inputs, hidden, examples.outputs, terms=TERMS)
    metric = "log_loss" if examples.classes else "rmse"
    start = Setting(shape, batch_size=16, optimizer="adam", metric=metric, patience=50, seed=7)
    return start._replace(**changes)


def trial(number: int, **changes) -> Progress:
    return Progress(number, lr=0.01, l1=0.0, l2=0.0, dropout=0.0, epochs=50)._replace(**changes)


def reference(examples: Examples, setting: Setting, member: Progress) -> np.ndarray:
    """Parameters after an epoch of autograd, SparseAdam for the terms and Adam for the rest."""
    shape = setting.shape
    flat = initial(shape, setting.seed, member.number)
    cut = shape.sparse_weights
    table = torch.from_numpy(flat[:cut].reshape(shape.terms, -1).copy()).requires_grad_()
    layers = [
        (weight[0].clone().requires_grad_(), bias[0, :, 0].clone().requires_grad_())
        for weight, bias in views(torch.from_numpy(flat[cut:])[None], shape.dense)
    ]
    rest = [each for layer in layers for each in layer]
    if setting.optimizer == "adam":
        steps = [torch.optim.SparseAdam([table], lr=member.lr)]
        steps += [torch.optim.Adam(rest, lr=member.lr)]
    else:
        steps = [torch.optim.SGD(rest, lr=member.lr, momentum=0.9)]
    momentum = torch.zeros_like(table)
    sparse = torch.from_numpy(examples.terms.toarray())
    counts = (sparse != 0).sum(0).numpy()
    share = torch.from_numpy(occurrence(counts, len(sparse), setting.batch_size)).float()
    order = np.random.default_rng(np.random.SeedSequence([setting.seed, 1, 0]))
    batches = torch.from_numpy(order.permutation(len(sparse))).split(setting.batch_size)
    for count, batch in enumerate(batches, 1):
        # SparseAdam adds epsilon before the bias of the second moment is corrected, Adam after.
        steps[0].param_groups[0]["eps"] = 1e-8 * (1 - 0.999**count) ** 0.5
        h = sparse[batch] @ table
        for place, (weight, bias) in enumerate(layers):
            h = (h if place == 0 else 0) + (examples.x[batch] if place == 0 else h) @ weight.t()
            h = h + bias
            h = torch.relu(h) if place < len(layers) - 1 else h
        if examples.classes:
            loss = nn.functional.cross_entropy(h, examples.y[batch])
        else:
            loss = nn.functional.mse_loss(h[:, 0], examples.y[batch])
        there = (sparse[batch] != 0).any(0)
        for weight in (table[there] / share[there][:, None] ** 0.5, *(w for w, _ in layers)):
            loss = loss + member.l2 * weight.square().sum()
        for weight in (table[there] / share[there][:, None], *(w for w, _ in layers)):
            loss = loss + member.l1 * weight.abs().sum()
        for each in (table, *rest):
            each.grad = None
        loss.backward()
        rows = there.nonzero()[:, 0]
        if setting.optimizer == "adam":
            table.grad = torch.sparse_coo_tensor(
                rows[None], table.grad[rows], table.shape, check_invariants=True
            )
        else:
            momentum[rows] = 0.9 * momentum[rows] + table.grad[rows]
            table.data[rows] -= member.lr * momentum[rows]
        for step in steps:
            step.step()
    weights, biases = [w for w, _ in layers], [b for _, b in layers]
    parts = [part.detach().flatten() for part in (table, *weights, *biases)]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("hidden", [(), (8,), (16, 5)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("dense", [0, DENSE])
def test_an_epoch_equals_torch_with_sparse_adam(hidden, optimizer, classes, dense):
    examples = examples_of(classes, dense)
    setting = setting_for(examples, hidden, optimizer=optimizer)
    member = trial(3, l1=1e-3, l2=1e-3)
    with torch.inference_mode():  # 110 rows in batches of 16: 6 whole steps and one of 14 rows
        stack = Stack([member], setting, examples)
        stack.train_epoch(deadline=float("inf"))
        stack.score()

    ours = stack.unstack()[0].parameters

    assert np.abs(ours - reference(examples, setting, member)).max() < 1e-5


def test_the_average_is_that_of_every_step():
    examples = examples_of(3)
    setting = setting_for(examples)
    with torch.inference_mode():
        stack = Stack([trial(0, lr=0.05)], setting, examples)
        expected = np.zeros(setting.shape.sparse_weights)
        update = stack._terms.update

        def watched(error, step, weight):
            update(error, step, weight)
            nonlocal expected
            expected = (1 - weight) * expected + weight * stack._terms.member(0)[0].ravel()

        stack._terms.update = watched
        for _ in range(30):  # far enough for the difference to run out of precision once
            stack.train_epoch(float("inf"))
            stack.score()

    assert np.abs(stack._terms.member(0)[3].ravel() - expected).max() < 1e-5


def mixed(count: int) -> list[Progress]:
    return [
        trial(n, lr=0.002 * (n + 1), l1=1e-4 * (n % 2), l2=1e-4 * (n % 3), dropout=0.2 * (n % 2))
        for n in range(count)
    ]


def same(a: Progress, b: Progress) -> bool:
    arrays = ("parameters", "first", "second", "average", "best")
    bare = dict.fromkeys(arrays) | {"seconds": 0, "elapsed": 0}
    numbers = a._replace(**bare) == b._replace(**bare)
    return numbers and all(np.array_equal(getattr(a, key), getattr(b, key)) for key in arrays)


@pytest.mark.parametrize("product", ["numpy", "torch"])
@pytest.mark.parametrize("hidden", [(), (7,), (33, 17)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_member_equals_itself_alone_to_the_bit(product, hidden, optimizer, classes):
    examples = examples_of(classes)
    setting = setting_for(examples, hidden, optimizer=optimizer, product=product)
    members = mixed(5)

    together = train(members, setting, examples, until=4)
    alone = [train([member], setting, examples, until=4)[0] for member in members]

    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


def test_training_continues_where_it_was_cut():
    examples = examples_of(3)
    setting = setting_for(examples)

    whole = train(mixed(3), setting, examples, until=5)
    cut = train(train(mixed(3), setting, examples, until=2)[1:], setting, examples, until=5)

    assert all(same(a, b) for a, b in zip(whole[1:], cut, strict=True))


def test_a_diverged_member_leaves_the_others_as_they_are():
    examples = examples_of(0)
    setting = setting_for(examples, optimizer="sgd")
    members = [trial(0), trial(1, lr=1e30), trial(2)]

    trained = train(members, setting, examples, until=3)
    alone = train([trial(0)], setting, examples, until=3)[0]

    assert [m.outcome for m in trained] == ["", "diverged", ""]
    assert same(trained[0], alone)


def test_the_share_of_steps_with_a_term_is_what_shuffling_gives():
    rng = np.random.default_rng(0)
    counts, rows, size = np.array([0, 1, 5, 30]), 50, 16
    seen = np.zeros(4)
    for _ in range(2000):
        order = rng.permutation(rows)
        parts = [order[start : start + size] for start in range(0, rows, size)]
        seen += [sum((part < count).any() for part in parts) / len(parts) for count in counts]
    seen[0] = 2000  # a term that never occurs

    assert np.allclose(occurrence(counts, rows, size), seen / 2000, atol=0.01)
