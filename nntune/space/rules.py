"""What each hyperparameter can be at all, and what it is unless the user says otherwise."""

import math
import sys
from typing import NamedTuple, NoReturn, TypeAlias

from nntune.errors import UsageError, did_you_mean
from nntune.families import FAMILIES, OWN, PREFIX

Value: TypeAlias = int | float | str


ANY = 1e300  # of a hyperparameter that only the user's network knows


class Rule(NamedTuple):
    """What a hyperparameter can be at all, and what it is unless the user says otherwise."""

    kind: type[int] | type[float] | type[str]
    text: str
    default: Value
    source: str
    low: float = 0
    high: float = 0
    limits: str = ""
    options: tuple[str, ...] = ()
    families: tuple[str, ...] = (*FAMILIES, OWN)  # that have it


RULES = {
    "model": Rule(
        str,
        "mlp",
        "mlp",
        "cnn for images, cnn and rnn for series, mlp for all else",
        options=FAMILIES,
    ),
    "hidden_layers": Rule(
        int,
        "1:4",
        2,
        "TabM tunes 1 to 5 blocks, AutoGluon 2 to 4, LCBench 1 to 5",
        0,
        100,
        "a network has 0 to 100 hidden layers",
        families=("mlp",),
    ),
    "units": Rule(
        int,
        "16,32,64,128,256",
        128,
        "HPOBench tunes 16 to 1024, AutoGluon 128 to 512; few widths let trials train as one stack",
        1,
        65536,
        "a layer has 1 to 65536 units",
        families=("mlp",),
    ),
    "shape": Rule(
        str,
        "flat",
        "flat",
        "TabM, AutoGluon and RealMLP give all hidden layers one width",
        options=("flat", "taper"),
        families=("mlp",),
    ),
    "blocks": Rule(
        int,
        "2:4",
        3,
        "LeNet has 2 blocks of convolution, the FCN of Wang et al. 2017 has 3",
        1,
        12,
        "a network has 1 to 12 blocks of convolution",
        families=("cnn",),
    ),
    "block_type": Rule(
        str,
        "plain",
        "plain",
        "the FCN and the ResNet of Wang et al. 2017; a residual block is two convolutions",
        options=("plain", "residual"),
        families=("cnn",),
    ),
    "channels": Rule(
        int,
        "16,32,64",
        32,
        "of the first block; it doubles with each pooling, up to four times as many",
        1,
        1024,
        "a block has 1 to 1024 channels",
        families=("cnn",),
    ),
    "kernel": Rule(
        int,
        "3,5",
        3,
        "3 and 5 in nearly all networks for images; series get 7 and 9 too",
        1,
        101,
        "a kernel has 1 to 101 places on a side",
        families=("cnn",),
    ),
    "norm": Rule(
        str,
        "batch",
        "batch",
        "batch normalisation as in the FCN and ResNet of Wang et al. 2017",
        options=("batch", "none"),
        families=("cnn",),
    ),
    "pool": Rule(
        str,
        "max",
        "max",
        "halves the resolution after a block; series may keep it, as the FCN does",
        options=("max", "none"),
        families=("cnn",),
    ),
    "gather": Rule(
        str,
        "flatten,mean",
        "flatten",
        "LeNet keeps every place, the FCN takes the mean over all",
        options=("flatten", "mean"),
        families=("cnn",),
    ),
    "head": Rule(
        int,
        "0,64,128",
        64,
        "units of a dense layer before the outputs; LeNet has 84, the FCN none",
        0,
        65536,
        "a head has 0 to 65536 units",
        families=("cnn",),
    ),
    "augment": Rule(
        str,
        "none",
        "none",
        "shift moves an example by up to a tenth, flip mirrors it, crop enlarges a part",
        options=("none", "shift", "flip", "crop"),
        families=("cnn",),
    ),
    "cell": Rule(
        str,
        "gru,lstm",
        "gru",
        "the two that are in use",
        options=("gru", "lstm"),
        families=("rnn",),
    ),
    "rnn_layers": Rule(
        int,
        "1,2",
        1,
        "one is the usual number, two the next",
        1,
        8,
        "a network has 1 to 8 recurrent layers",
        families=("rnn",),
    ),
    "rnn_units": Rule(
        int,
        "32,64,128",
        64,
        "32 to 128 in textbooks",
        1,
        4096,
        "a recurrent layer has 1 to 4096 units",
        families=("rnn",),
    ),
    "states": Rule(
        str,
        "last,mean,max",
        "last",
        "what the outputs see of a series: its last state, or their mean or maximum",
        options=("last", "mean", "max"),
        families=("rnn",),
    ),
    "dropout": Rule(
        float,
        "0:0.5",
        0.1,
        "AutoGluon and RealMLP tune 0 to 0.5; 0.1 is AutoGluon's default",
        0,
        math.nextafter(1, 0),
        "a dropout is at least 0 and below 1",
        families=FAMILIES,
    ),
    "l1": Rule(
        float, "0", 0.0, "no published space tunes it", 0, 1e6, "a penalty lies between 0 and 1e6"
    ),
    # At He initialisation a layer of n units has sum w^2 = 2n: at 1e-2 and 128 units the penalty
    # is 2.6, many times a log loss; at 1e-6 it is nothing.
    "l2": Rule(
        float,
        "0,1e-6:1e-2:log",
        1e-5,
        "zero or log as TabM; LCBench's 1e-5 to 1e-1 is 5e-6 to 5e-2 in this convention",
        0,
        1e6,
        "a penalty lies between 0 and 1e6",
    ),
    "batch_size": Rule(
        int,
        "32,64,128,256",
        64,
        "HPOBench tunes 4 to 256, LCBench 16 to 512; at most a quarter of the training rows",
        1,
        2**20,
        "a batch has 1 to 1048576 rows",
    ),
    "epochs": Rule(
        int,
        "100",
        100,
        "FCNet trains 100 epochs; up to 400 for fewer than 2,500 rows; early stopping ends most",
        1,
        10**6,
        "training takes 1 to 1000000 epochs",
    ),
    "lr": Rule(
        float,
        "3e-4:3e-2:log",
        1e-3,
        "AutoGluon tunes 1e-4 to 3e-2, TabM 1e-4 to 5e-3; 1e-3 is Adam's own default",
        sys.float_info.min,
        1e3,
        "a learning rate is above 0 and at most 1000",
    ),
    "activation": Rule(
        str,
        "relu",
        "relu",
        "AutoGluon tunes relu and elu, FCNet relu and tanh; relu is first in both",
        options=("relu", "tanh", "gelu", "silu"),
        families=("mlp", "cnn"),
    ),
    "optimizer": Rule(
        str,
        "adam",
        "adam",
        "FCNet trains its 62208 networks with Adam",
        options=("adam", "sgd"),
    ),
    "bins": Rule(
        int,
        "0,16",
        16,
        "features for the bins of a number (Gorishniy et al. 2022); none for wide tables",
        0,
        256,
        "a number has 0 or 2 to 256 bins",
        families=("mlp",),
    ),
}


NAMES = tuple(RULES)


# Where a table has text: range and default. See docs/text.md for what was measured.
TEXT: dict[str, tuple[str, Value]] = {
    "hidden_layers": ("0:2", 0),
    "units": ("8,16,32", 16),
    "dropout": ("0:0.8", 0.5),
    "l2": ("0,1e-7:1e-3:log", 1e-5),
    "lr": ("1e-3:1e-1:log", 5e-3),
    "epochs": ("30", 30),
}


# What other tools call these; difflib cannot see that learning_rate means lr.
FOREIGN_NAMES = {
    "learning_rate": "lr",
    "weight_decay": "l2",
    "alpha": "l2",
    "layers": "hidden_layers",
    "depth": "hidden_layers",
    "width": "units",
    "hidden_units": "units",
    "max_iter": "epochs",
    "solver": "optimizer",
}


def family_of(model: object) -> str:
    """The family of a value of `model`: a word of FAMILIES, or `own` for FILE.py:NAME."""
    return str(model) if model in FAMILIES else OWN


def flag_of(name: str, text: str) -> list[str]:
    """The words on a command line that give a hyperparameter its range.

    >>> flag_of("batch_size", "32"), flag_of("net.width", "8")
    (['--batch-size', '32'], ['--set', 'width=8'])
    """
    if name.startswith(PREFIX):
        return ["--set", f"{name.removeprefix(PREFIX)}={text}"]
    return [f"--{name.replace('_', '-')}", text]


def unknown(name: str, where: str | None) -> NoReturn:
    alias = FOREIGN_NAMES.get(name.lower().replace("-", "_"))
    hint = f" Did you mean '{alias}'?" if alias else did_you_mean(name, NAMES)
    place = f"{where}: " if where else ""
    raise UsageError(
        f"{place}no hyperparameter named '{name}'; there are {', '.join(NAMES)}"
        f"{'.' * bool(hint)}{hint}"
    )
