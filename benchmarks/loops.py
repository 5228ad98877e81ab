"""How others train the same list of configurations, one function each.

Every function trains on the same rows for the same epochs with the same penalties and scores
the validation rows after each epoch, and returns the last score. The L2 penalty is given as the
decay of weights, which is what a script would do.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nntune.training import Examples
from nntune.trials import Problem, hidden_widths

Config = Mapping[str, Any]


def build(config: Config, problem: Problem) -> nn.Sequential:
    widths = hidden_widths(config["hidden_layers"], config["units"], config["shape"])
    layers: list[nn.Module] = []
    before = problem.inputs
    for width in widths:
        layers += [nn.Linear(before, width), nn.ReLU()]
        layers += [nn.Dropout(config["dropout"])] if config["dropout"] else []
        before = width
    return nn.Sequential(*layers, nn.Linear(before, problem.classes or 1))


def groups(network: nn.Module, config: Config) -> list[dict[str, Any]]:
    weights = [p for p in network.parameters() if p.ndim == 2]
    biases = [p for p in network.parameters() if p.ndim == 1]
    return [{"params": weights, "weight_decay": 2 * config["l2"]}, {"params": biases}]


def criterion(problem: Problem) -> nn.Module:
    return nn.CrossEntropyLoss() if problem.classes else nn.MSELoss()


def validation_loss(network: nn.Module, examples: Examples, problem: Problem) -> float:
    network.eval()
    with torch.no_grad():
        output = network(examples.x_valid)
        loss = criterion(problem)(output if problem.classes else output[:, 0], examples.y_valid)
    network.train()
    return float(loss)


def stock_epochs(config: Config, examples: Examples, problem: Problem) -> Iterator[nn.Module]:
    """TensorDataset, DataLoader, nn.Sequential, autograd, torch.optim.Adam: after each epoch."""
    network = build(config, problem)
    loader = DataLoader(
        TensorDataset(examples.x, examples.y), batch_size=config["batch_size"], shuffle=True
    )
    optimizer = torch.optim.Adam(groups(network, config), lr=config["lr"])
    loss_of = criterion(problem)
    while True:
        for x, y in loader:
            optimizer.zero_grad()
            output = network(x)
            loss = loss_of(output if problem.classes else output[:, 0], y)
            if config["l1"]:
                penalty = sum(p.abs().sum() for p in network.parameters() if p.ndim == 2)
                loss = loss + config["l1"] * penalty
            loss.backward()
            optimizer.step()
        yield network


def lean_epochs(config: Config, examples: Examples, problem: Problem) -> Iterator[nn.Module]:
    """Batches cut from tensors in memory, fused Adam: the network after each epoch."""
    network = build(config, problem)
    optimizer = torch.optim.Adam(groups(network, config), lr=config["lr"], fused=True)
    loss_of = criterion(problem)
    while True:
        for rows in torch.randperm(len(examples.x)).split(config["batch_size"]):
            output = network(examples.x[rows])
            loss = loss_of(output if problem.classes else output[:, 0], examples.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield network


def stock(config: Config, examples: Examples, problem: Problem, epochs: int) -> float:
    """The usual loop."""
    return _last_loss(stock_epochs, config, examples, problem, epochs)


def lean(config: Config, examples: Examples, problem: Problem, epochs: int) -> float:
    """What a careful script does."""
    return _last_loss(lean_epochs, config, examples, problem, epochs)


def _last_loss(
    loop: Callable[[Config, Examples, Problem], Iterator[nn.Module]],
    config: Config,
    examples: Examples,
    problem: Problem,
    epochs: int,
) -> float:
    torch.manual_seed(0)
    for network in islice(loop(config, examples, problem), epochs):
        score = validation_loss(network, examples, problem)
    return score


def sklearn(config: Config, examples: Examples, problem: Problem, epochs: int) -> float:
    """scikit-learn's MLP: no dropout."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if problem.classes else MLPRegressor
    network = kind(
        hidden_layer_sizes=hidden_widths(config["hidden_layers"], config["units"], config["shape"]),
        batch_size=config["batch_size"],
        learning_rate_init=config["lr"],
        alpha=2 * config["l2"] * len(examples.x),
        max_iter=1,
        warm_start=True,
        random_state=0,
    )
    x, y, x_valid = examples.x.numpy(), examples.y.numpy(), examples.x_valid.numpy()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(epochs):
            network.fit(x, y)
            score = network.predict_proba(x_valid) if problem.classes else network.predict(x_valid)
    return float(np.mean(score))


def vmap(configs: Sequence[Config], examples: Examples, problem: Problem, epochs: int) -> float:
    """torch.func: gradients of a stack of equal shapes by vmap over autograd, Adam by hand."""
    from torch.func import functional_call, grad, stack_module_state
    from torch.func import vmap as over_members

    torch.manual_seed(0)
    config = {**configs[0], "dropout": max(c["dropout"] for c in configs)}
    networks = [build(config, problem) for _ in configs]
    parameters, _ = stack_module_state(networks)
    template = networks[0]
    loss_of = criterion(problem)

    def loss(values: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        output = functional_call(template, values, (x,))
        return loss_of(output if problem.classes else output[:, 0], y)

    gradient = over_members(grad(loss), in_dims=(0, None, None), randomness="different")
    flat = list(parameters.values())
    first = [torch.zeros_like(p) for p in flat]
    second = [torch.zeros_like(p) for p in flat]
    lr = [torch.tensor([c["lr"] for c in configs]).view(-1, *[1] * (p.ndim - 1)) for p in flat]
    step = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(examples.x)).split(config["batch_size"]):
            step += 1
            found = gradient(parameters, examples.x[rows], examples.y[rows])
            with torch.no_grad():
                for p, g, m, v, rate in zip(flat, found.values(), first, second, lr, strict=True):
                    m.lerp_(g, 0.1)
                    v.mul_(0.999).addcmul_(g, g, value=0.001)
                    scale = (v.sqrt() / (1 - 0.999**step) ** 0.5).add_(1e-8)
                    p.sub_(rate * m / scale / (1 - 0.9**step))
        template.eval()
        with torch.no_grad():
            scores = over_members(loss, in_dims=(0, None, None))(
                parameters, examples.x_valid, examples.y_valid
            )
        template.train()
    return float(scores[0])
