"""The space in force: defaults for the data, what a file says, what the flags say."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nntune.errors import UsageError
from nntune.families import OWN, PREFIX, Grid
from nntune.space.grammar import parse
from nntune.space.hyperparameter import Hyperparameter
from nntune.space.rules import NAMES, RULES, TEXT, Value, family_of
from nntune.space.toml import parse_toml, read
from nntune.space.whole import Space

_MANY = 20_000  # training rows


_SHORT = 16  # steps, such as lags: too few for blocks of convolution


def build(
    overrides: Mapping[str, str],
    file: Path | None = None,
    rows: int | None = None,
    grid: Grid | None = None,
    networks: Mapping[str, Mapping[str, Value]] | None = None,
    *,
    is_text: bool = False,
    bins: int = 0,
) -> Space:
    """The space in force: the defaults, then what the TOML file says, then the flags.

    It holds the hyperparameters of the families that `model` may be, and `model` itself where
    features form a grid.

    Args:
        overrides: hyperparameter name to range, as the flags give them.
        file: a TOML file, see `parse_toml`.
        rows: training rows; small tables get smaller default batches and more epochs.
        grid: where the features form an image or a series.
        networks: of the user's own, with the defaults of their hyperparameters.
        is_text: whether the table has text.
        bins: of the table's numbers; 0 for none, which leaves nothing to tune.

    Raises:
        UsageError: a name, a range or the file is wrong, or belongs to another family.
    """
    asked = asked_ranges(overrides, file)
    models = asked.get("model") or parse(
        "model", default_text("model", rows, grid, is_text=is_text)
    )
    found = {name: parse(name, default_text(name, rows, grid, is_text=is_text)) for name in NAMES}
    families = set(map(family_of, models.choices))
    having = {n for n in NAMES if families & set(RULES[n].families)}
    having |= {name for name in asked if name.startswith(PREFIX) and OWN in families}
    for name in asked:
        if name not in having:
            raise UsageError(f"{_belongs(name)}, and --model is {models.text} here.")
    found |= asked | {"model": models}
    for name, value in (networks or {}).get(str(models.choices[-1]), {}).items():
        if name in found and isinstance(value, int | float | str):
            found[name] = replace(found[name], default=value)
    if is_text:
        found |= {name: replace(found[name], default=each) for name, (_, each) in TEXT.items()}
    if not bins:
        having.discard("bins")
    elif "bins" not in asked:
        found["bins"] = parse("bins", f"0,{bins}")
    if models.choices == ("mlp",) and grid is None:  # a table leaves no choice
        having.remove("model")
    return Space(tuple(each for name, each in found.items() if name in having))


def asked_ranges(
    overrides: Mapping[str, str], file: Path | None = None
) -> dict[str, Hyperparameter]:
    """What flags and the TOML file say, the flags first.

    Raises:
        UsageError: a name, a range or the file is wrong.
    """
    entries = {} if file is None else parse_toml(read(file), str(file))
    found = {name: parse(name, text, f"{file}: {name}") for name, text in entries.items()}
    return found | {name: parse(name, text) for name, text in overrides.items()}


def bins_of(asked: Hyperparameter) -> int:
    """The number of bins of a range of `bins`; 0 for none.

    Raises:
        UsageError: it has several.
    """
    counts = {int(count) for count in asked.choices if count}
    if counts == {1}:
        raise UsageError(f"--bins {asked.text}: 0 for none, or 2 and more.")
    if len(counts) > 1 or not asked.choices:
        raise UsageError(
            f"--bins {asked.text}: bins are made once for all trials, so it is 0, a number, or 0 "
            "and a number, such as 0,16."
        )
    return max(counts, default=0)


def explicit(params: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that says so if it has no bins, which a new study would try by itself."""
    lacks_bins = "bins" not in params and params.get("model", "mlp") == "mlp"
    return {**params, "bins": 0} if lacks_bins else dict(params)


def _belongs(name: str) -> str:
    if name.startswith(PREFIX):
        return f"--set {name.removeprefix(PREFIX)} is for a network of your own"
    return f"--{name.replace('_', '-')} is for {' and '.join(RULES[name].families)}"


def default_text(name: str, rows: int | None, grid: Grid | None, *, is_text: bool) -> str:
    if grid is not None and (text := _grid_text(name, rows, grid)):
        return text
    if is_text and name in TEXT:
        return TEXT[name][0]
    if name == "epochs" and rows is not None:
        # As many steps as 2,500 rows give: 400 epochs took concrete (659 rows) from a test error
        # of 5.36 to 5.18, and small tables cost little.
        return str(min(400, max(100, 10 * round(25_000 / rows))))
    if name != "batch_size" or rows is None:
        return RULES[name].text
    fitting = [size for size in (8, 16, 32, 64, 128, 256) if size <= max(8, rows / 4)]
    usual = [size for size in fitting if size >= 32]
    return ",".join(map(str, usual if len(usual) > 1 else fitting[-2:]))


def _grid_text(name: str, rows: int | None, grid: Grid) -> str | None:
    """Another default where features form an image or a series."""
    if name == "epochs" and rows is not None and rows > _MANY:
        return "30"  # an epoch takes minutes where one of a perceptron takes seconds
    if len(grid.size) == 2:
        return {"model": "cnn"}.get(name)
    if grid.size[0] < _SHORT:
        return {"model": "mlp,rnn", "pool": "none"}.get(name)
    found = {"model": "cnn,rnn", "kernel": "5,7,9", "channels": "16,32"}
    if rows is not None and rows < grid.size[0]:
        # A layer on all steps learns a few series by heart, and means over time do not (the FCN of
        # Wang et al. 2017). Their ResNet is better still: docs/families.md has the figures.
        found |= {"gather": "mean", "head": "0", "block_type": "residual"}
    return found.get(name)
