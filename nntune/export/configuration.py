"""A configuration as a TOML file for `nntune search --space`: every hyperparameter is fixed."""

from collections.abc import Mapping
from typing import Any

from nntune.space import NAMES, Hyperparameter, parse


def space_toml(params: Mapping[str, Any], origin: str) -> str:
    """The file's text; `origin` is its comment.

    >>> print(space_toml({"units": 64, "lr": 1e-4, "shape": "flat"}, "trial #3 of iris"), end="")
    # trial #3 of iris
    units = 64
    shape = "flat"
    lr = 1e-4
    """
    lines = ["# " + " ".join(origin.split())]
    own = [name for name in params if name not in NAMES]
    for name in (*NAMES, *own):
        if name in params:
            (value,) = parse(name, str(params[name])).choices
            text = Hyperparameter(name, choices=(value,)).text
            lines.append(f'{name} = "{text}"' if isinstance(value, str) else f"{name} = {text}")
    return "\n".join(lines) + "\n"
