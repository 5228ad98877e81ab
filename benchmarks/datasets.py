"""Where the benchmark's tables are: a folder named by NNTUNE_DATA, or ../shared/data."""

import os
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(os.environ.get("NNTUNE_DATA", "../shared/data"))


class Table(NamedTuple):
    """A file with its target."""

    file: str
    target: str | None
    metric: str  # of a test score


TABLES = {
    "digits8x8": Table("ship/digits8x8/digits8x8.csv", "digit", "accuracy"),
    "phoneme": Table("bench/phoneme/phoneme.csv", "class", "accuracy"),
    "credit_g": Table("bench/credit_g/credit_g.csv", "class", "accuracy"),
    "adult": Table("bench/adult/adult.csv.gz", "income", "accuracy"),
    "concrete": Table("bench/concrete/concrete.csv", "strength", "rmse"),
    "energy": Table("bench/energy/energy.csv", "heating_load", "rmse"),
    "default": Table("ship/default/default.csv", "default", "accuracy"),
    "wage": Table("ship/wage/wage.csv", "wage", "rmse"),
    "hitters": Table("ship/hitters/hitters.csv", "Salary", "rmse"),
    "penguins": Table("ship/penguins/penguins.csv", "species", "accuracy"),
    "kin8nm": Table("bench/kin8nm/kin8nm.csv.gz", "y", "rmse"),
    "california_housing": Table(
        "bench/california_housing/california_housing.csv", "median_house_value", "rmse"
    ),
    "mnist_5k": Table("ship/mnist_5k/mnist_5k.npz", None, "accuracy"),
}


def path_of(name: str) -> Path | None:
    """The file of a table, or None where the folder lacks it, with a line that says so."""
    path = FOLDER / TABLES[name].file
    if path.exists():
        return path
    print(f"{name}: skipped, no {path}; set NNTUNE_DATA to the folder of the tables.")
    return None
