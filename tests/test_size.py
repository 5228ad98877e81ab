"""What is large: a part of the rows does for the search, and what a search would take is said."""

from pathlib import Path

import numpy as np
import pytest

from nntune import search
from nntune.bundle.refit import Wanted, refit
from nntune.costs import memory, size
from nntune.data import Request, load
from nntune.data.learning import learning_of
from nntune.data.plan import plan_of
from nntune.data.splits import thinned
from nntune.errors import RefusedError, UsageError
from nntune.retraining import problem_of
from nntune.space import build
from nntune.stacks import most_members
from nntune.trials import Problem, Shape

PENGUINS = str(Path(__file__).parent / "data" / "penguins.csv")
THIN = Request(PENGUINS, "species", subsample=100)


def test_a_search_sees_a_part_of_the_rows_of_each_class_and_no_test_row() -> None:
    plan, every = plan_of(THIN), plan_of(Request(PENGUINS, "species"))
    assert abs(len(plan.parts.train) + len(plan.parts.valid) - 100) <= 3
    assert set(plan.parts.train) < set(every.parts.train)
    assert set(plan.parts.valid) < set(every.parts.valid)
    assert np.array_equal(plan.parts.test, every.parts.test)
    assert set(load(THIN).train.y) == {0, 1, 2}
    assert "the search sees 101 of 275 rows; refit learns from all of them" in load(THIN).warnings


def test_a_refit_learns_from_all_rows() -> None:
    plan = plan_of(THIN)
    assert len(learning_of(plan, "train").train.y) == len(plan.parts.train)
    assert len(learning_of(plan, "train+valid").train.y) == 275
    assert len(learning_of(plan, "all").train.y) == 344


def test_more_rows_than_there_are_do_no_harm() -> None:
    plan = plan_of(Request(PENGUINS, "species", subsample=1000))
    assert plan.parts is plan.whole


def test_a_rare_class_keeps_a_row() -> None:
    classes = np.array([0] * 997 + [1] * 3)
    rows = thinned(np.arange(1000), classes, seed=0, share=0.01)
    assert np.array_equal(np.bincount(classes[rows]), [10, 1])


def test_a_search_that_would_not_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(
        RefusedError, match=r"takes about .* of memory .* allows 100 MB; --subsample"
    ):
        search(PENGUINS, "species", trials=1, max_memory=1e8, db=tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()
    search(PENGUINS, "species", trials=1, max_memory=8e9, space={"epochs": 1}, db=tmp_path / "b.db")


def test_what_a_search_takes_grows_with_its_data_and_networks() -> None:
    small, large = Problem(20, 100_000, 2), Problem(20, 6_400_000, 2)
    shape = Shape(20, (32,), 2)
    assert most_members(shape, 128, small) > most_members(shape, 128, large) >= 1
    assert most_members(shape, 128, Problem(20, 100_000, 1000)) == 1
    dataset = load(THIN)
    by_units = [
        memory(dataset, problem_of(dataset), build({"units": units}), 2) for units in ("8", "512")
    ]
    assert 1e9 < by_units[0] < by_units[1] < 3e9


@pytest.mark.parametrize("text", ["", "4", "GB", "0GB", "-1GB", "4XB", "1e3MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="say how much, such as 800MB or 4GB"):
        size(text)


def test_a_thinned_study_is_searched_resumed_and_refitted(tmp_path: Path) -> None:
    def searched(trials: int, rows: int = 100) -> int:
        view = search(
            PENGUINS, "species", trials=trials, subsample=rows, db=tmp_path / "a.db",
            space={"epochs": 3, "units": 8},
        )  # fmt: skip
        assert refit(view, Wanted()).bundle.metrics["count"] == 275
        return len(view.trials())

    assert searched(4) == 4
    assert searched(6) == 6
    with pytest.raises(Exception, match="this search differs from study 'penguins'"):
        searched(6, rows=120)
