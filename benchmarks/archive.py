"""Few series: plain and residual blocks on data sets of the UCR archive, after so many steps.

Networks of one configuration learn from all training rows (mean over time, 3 blocks of 32 channels
and kernels of 7, Adam with a rate of 1e-3, batches of 8); all of what they say of the test rows is
printed and nothing is chosen by it. FOLDER has NAME_TRAIN.tsv and NAME_TEST.tsv of each data set
(Dau et al. 2019, arXiv:1810.07758), a label and the steps in each line.

    python -m benchmarks.archive FOLDER [NAME ...] [--seeds N] [--averaged]

With --averaged the statistics of batch normalisation are averages over steps, as weights are.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nntune import autograd
from nntune.families import Convolutional, Grid
from nntune.training import Examples, train
from nntune.trials import Progress, Setting

SETS = (
    "BME", "Beef", "BeetleFly", "BirdChicken", "CBF", "DiatomSizeReduction", "ECG200",
    "ECGFiveDays", "FaceFour", "FreezerSmallTrain", "Coffee",
)  # fmt: skip
STEPS = (100, 300, 1000)
BATCH, MOST = 8, 400  # test rows that are looked at


def read(folder: Path, name: str) -> tuple[Examples, np.ndarray, np.ndarray]:
    """The training rows, and (N, T) and (N,) of the test rows, all by the training rows' scale."""
    train_rows, test_rows = (
        np.loadtxt(folder / f"{name}_{part}.tsv") for part in ("TRAIN", "TEST")
    )
    test_rows = np.random.default_rng(0).permutation(test_rows)[:MOST]
    classes, y = np.unique(train_rows[:, 0], return_inverse=True)
    mean, sd = train_rows[:, 1:].mean(), train_rows[:, 1:].std()
    x, x_test = (((rows[:, 1:] - mean) / sd).astype(np.float32) for rows in (train_rows, test_rows))
    rows, labels = torch.from_numpy(x), torch.from_numpy(y)
    examples = Examples(rows, labels, rows, labels, len(classes), 1.0)
    return examples, x_test, np.searchsorted(classes, test_rows[:, 0])


def curve(
    examples: Examples, x: np.ndarray, y: np.ndarray, block_type: str, seeds: int
) -> list[tuple[float, float]]:
    """Accuracy and log loss on test rows at each of STEPS, means over the seeds."""
    count, steps = examples.x.shape
    shape = Convolutional(
        steps, Grid(1, (steps,)), 3, 32, 7, "batch", "max", "mean", 0, examples.classes,
        block_type=block_type,
    )  # fmt: skip
    epochs = [round(each / np.ceil(count / BATCH)) for each in STEPS]
    setting = Setting(shape, BATCH, "adam", "log_loss", patience=epochs[-1] + 1, seed=0)
    members: Sequence[Progress] = [
        Progress(number, lr=1e-3, l1=0.0, l2=0.0, dropout=0.0, epochs=epochs[-1] + 1)
        for number in range(seeds)
    ]
    found = []
    for until in epochs:
        members = train(members, setting, examples, until)
        scores = []
        for member in members:
            assert member.average is not None
            outputs = autograd.outputs(shape, member.average, x).astype(np.float64)
            odds = np.exp(outputs - outputs.max(1, keepdims=True))
            odds /= odds.sum(1, keepdims=True)
            loss = -np.log(odds[np.arange(len(y)), y].clip(1e-7)).mean()
            scores.append((np.mean(odds.argmax(1) == y), loss))
        accuracy, loss = np.mean(scores, 0)
        found.append((float(accuracy), float(loss)))
    return found


def main() -> None:
    """Prints a line for each data set, and their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETS)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--averaged", action="store_true", help="measure no statistics")
    arguments = parser.parse_args()
    if arguments.averaged:
        autograd.Differentiated.settle = lambda self, batches: None  # type: ignore[method-assign]
    torch.set_num_threads(1)
    kinds = ("plain", "residual")
    print(
        f"{'accuracy, log loss':20}", *(f"{kind:>8} {step:5}" for kind in kinds for step in STEPS)
    )
    lines = []
    for name in arguments.names or SETS:
        examples, x, y = read(arguments.folder, name)
        each = [curve(examples, x, y, kind, arguments.seeds) for kind in kinds]
        lines.append([value for found in each for value in found])
        show(name, lines[-1])
    show("mean", np.mean(lines, 0))


def show(name: str, values: Sequence[Sequence[float]] | np.ndarray) -> None:
    print(f"{name:20}", *(f"{acc:7.3f} {loss:6.3f}" for acc, loss in values), flush=True)


if __name__ == "__main__":
    main()
