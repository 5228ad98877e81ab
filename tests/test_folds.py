"""Folds and groups: who validates when, what each fold may know, and a search on folds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nntune
from nntune import study
from nntune.bundle.refit import Wanted, refit
from nntune.data import Request, describe, load
from nntune.data.learning import learning_of
from nntune.data.plan import Plan, plan_of
from nntune.data.splits import folds, group_folds, group_split
from nntune.errors import DataError, Error, UsageError
from nntune.retraining import problem_of
from nntune.study import View

PENGUINS = str(Path(__file__).parent / "data" / "penguins.csv")
SPACE = {"units": "8,16", "hidden_layers": "1", "batch_size": "64", "epochs": "6"}

classes_of_rows = st.lists(st.integers(0, 2), min_size=12, max_size=80).map(np.array)


def table(path: Path, rows: int = 120) -> str:
    """A regression whose column `who` names patients seen three times, and whose scale drifts."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=rows)
    lines = ["who,x,colour,y"]
    for row in range(rows):
        colour = "red" if row % 3 else "blue"
        lines.append(f"p{row // 3},{x[row]:.6f},{colour},{2 * x[row] + 0.01 * row:.6f}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@given(classes_of_rows, st.integers(2, 6), st.integers(0, 5))
def test_folds_are_rotations_of_equal_size(classes: np.ndarray, count: int, seed: int) -> None:
    rows = np.arange(len(classes)) * 2
    dealt = folds(rows, classes, seed, count)
    assert np.array_equal(np.sort(np.concatenate([fold.valid for fold in dealt])), rows)
    for fold in dealt:
        assert np.array_equal(np.sort(np.concatenate([fold.train, fold.valid])), rows)
        assert len(fold.valid) in (len(rows) // count, -(-len(rows) // count))


@given(classes_of_rows, st.integers(2, 6))
def test_every_fold_has_its_share_of_each_class(classes: np.ndarray, count: int) -> None:
    for fold in folds(np.arange(len(classes)), classes, 0, count):
        shares = Counter(classes[fold.valid].tolist())
        for name, total in Counter(classes.tolist()).items():
            assert shares[name] in (total // count, -(-total // count))


@given(
    st.lists(st.integers(0, 9), min_size=20, max_size=90).map(np.array), st.booleans(),
    st.integers(0, 5),
)  # fmt: skip
def test_no_group_is_in_two_splits_or_folds(
    groups: np.ndarray, stratified: bool, seed: int
) -> None:
    rows = np.arange(len(groups)) + 5
    classes = rows % 2 if stratified else None
    parts = group_split(rows, groups, classes, seed, (0.16, 0.2))
    dealt = group_folds(rows, groups, classes, seed, 3)
    for some in ([parts.train, parts.valid, parts.test], [fold.valid for fold in dealt]):
        assert np.array_equal(np.sort(np.concatenate(some)), rows)
        homes = [set(groups[part - 5].tolist()) for part in some]
        assert sum(map(len, homes)) == len(set.union(*homes))


def test_groups_go_where_their_rows_are_missed() -> None:
    groups = np.repeat(np.arange(100), 10)
    classes = (groups % 4 == 0).astype(np.int64)
    parts = group_split(np.arange(1000), groups, classes, 0, (0.16, 0.2))
    sizes = [len(part) for part in (parts.train, parts.valid, parts.test)]
    assert sizes == [640, 160, 200]
    shares = [float(classes[part].mean()) for part in (parts.train, parts.valid, parts.test)]
    assert max(abs(share - 0.25) for share in shares) < 0.02


@pytest.mark.parametrize("size", [1, 5])
def test_groups_of_one_class_leave_no_fold_empty(size: int) -> None:
    groups = np.repeat(np.arange(16), size)
    dealt = group_folds(np.arange(16 * size), groups, groups % 2, 0, 10)
    assert sorted(len(fold.valid) for fold in dealt) == [size] * 4 + [2 * size] * 6


def test_the_test_rows_do_not_depend_on_the_folds() -> None:
    one, five = (plan_of(Request(PENGUINS, "species", cv=cv)) for cv in (0, 5))
    assert np.array_equal(one.parts.test, five.parts.test)
    searched = np.sort(np.concatenate([fold.valid for fold in five.folds]))
    assert not np.isin(searched, five.parts.test).any()
    assert [len(plan.folds) for plan in (one, five)] == [1, 5]


def test_a_fold_knows_nothing_of_its_validation_rows(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv")
    plan = plan_of(Request(source, "y", ignore=("who",), cv=4))
    lines = Path(source).read_text().splitlines()
    for row in plan.folds[2].valid:
        who, x, colour, y = lines[row + 1].split(",")
        lines[row + 1] = f"{who},{float(x) + 50},{colour},{float(y) - 90}"
    Path(source).write_text("\n".join(lines) + "\n")
    changed = learning_of(plan_of(plan.request), "train").folds
    before = learning_of(plan, "train").folds
    same = [
        bool(np.array_equal(a.train.x, b.train.x) and a.target_mean == b.target_mean)
        for a, b in zip(before, changed, strict=True)
    ]
    assert same == [False, False, True, False]


def test_folds_have_the_same_features_even_where_one_has_not_seen_a_category(
    tmp_path: Path,
) -> None:
    draw = np.random.default_rng(0)
    words = ["often"] * 56 + ["seldom"] * 4
    lines = [f"{word},{draw.normal():.3f},{draw.normal():.3f}" for word in words]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["word,x,y", *lines]) + "\n")
    data = load(Request(str(path), "y", cv=3, categorical=("word",)))
    assert {fold.train.x.shape[1] for fold in data.folds} == {len(data.features)}
    assert {fold.valid.x.shape[1] for fold in data.folds} == {len(data.features)}
    x = data.features.index("x")
    assert all(abs(float(fold.train.x[:, x].mean())) < 1e-6 for fold in data.folds)


def test_the_column_of_the_groups_is_no_feature_unless_asked(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv")
    described = describe(Request(source, "y", group="who"))
    notes = {column.name: (column.role, column.note) for column in described.columns}
    assert notes["who"] == ("ignored", "its values are the groups")
    asked = describe(Request(source, "y", group="who", categorical=("who",)))
    assert {column.name: column.role for column in asked.columns}["who"] == "categorical"


def test_groups_stay_together_in_splits_and_folds_of_a_table(tmp_path: Path) -> None:
    plan = plan_of(Request(table(tmp_path / "a.csv"), "y", group="who", cv=4))
    for parts in ([fold.valid for fold in plan.folds], [plan.parts.train, plan.parts.valid]):
        homes = [set((part // 3).tolist()) for part in (*parts, plan.parts.test)]
        assert sum(map(len, homes)) == len(set.union(*homes)) == 40


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        (
            lambda source: Request(source, "y", cv=99),
            "--cv 99: every fold needs a row; a.csv has enough for 96",
        ),
        (
            lambda source: Request(source, "y", group="who", cv=99),
            "--cv 99: every fold needs a row and a group of its own; a.csv has enough for 32",
        ),
        (
            lambda source: Request(source, "y", cv=3, valid=source),
            "--cv makes folds of the rows and --valid gives a split; choose one of them",
        ),
        (
            lambda source: Request(source, "y", group="y"),
            "--group-col y is the target; name the column of the groups",
        ),
        (
            lambda source: Request(source, "y", group="colour"),
            "column colour of a.csv has too few groups for 3 splits; --group-col needs a column "
            "with more values",
        ),
    ],
)
def test_what_cannot_be_dealt_out_is_said(tmp_path: Path, request_of, sentence: str) -> None:
    with pytest.raises((UsageError, DataError)) as raised:
        plan_of(request_of(table(tmp_path / "a.csv")))
    assert str(raised.value) == sentence


def test_a_class_without_a_row_to_learn_from_is_refused(tmp_path: Path) -> None:
    lines = [f"{row + 0.5},{row % 7},{'ab'[row % 2] if row < 99 else 'c'}" for row in range(120)]
    (tmp_path / "a.csv").write_text("\n".join(["when,x,y", *lines]) + "\n")
    with pytest.raises(DataError) as raised:
        plan_of(Request(str(tmp_path / "a.csv"), "y", time="when"))
    assert str(raised.value) == (
        "as the rows of a.csv are split, none to train on has 'c' in column y; drop the rows that "
        "have or merge the classes"
    )


def searched(folder: Path, name: str, **options: object) -> View:
    return nntune.search(
        PENGUINS, "species", trials=6, space=SPACE, cv=3, db=folder / f"{name}.db", **options
    )


def facts(view: View) -> list[tuple[object, ...]]:
    return [
        (
            t.number,
            t.state,
            t.params,
            t.value,
            t.rungs,
            view.curve(t.number),
            view.weights(t.number),
        )
        for t in sorted(view.trials())
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("folds"), "penguins")


def test_a_search_on_folds_is_the_same_with_two_workers(finished: View, tmp_path: Path) -> None:
    assert finished.folds == 3
    study.open_writer(tmp_path / "two.db", "penguins", finished.definition).close()
    assert facts(searched(tmp_path, "two", workers=2)) == facts(finished)


def test_kept_weights_are_a_network_for_each_fold(finished: View) -> None:
    best = finished.best()
    assert best is not None
    weights = finished.weights(best.number)
    learning = learning_of(plan_of(Request(PENGUINS, "species", cv=3)), "train")
    units = finished.space.params(best.params)["units"]
    problem = problem_of(learning)
    inputs = (
        problem.inputs
        if finished.space.params(best.params)["bins"]
        else problem.inputs - problem.bins
    )
    assert weights is not None
    assert len(weights) == 4 * 3 * (inputs * units + units + units * 3 + 3)
    assert problem.folds == 3


def test_the_winner_of_folds_is_refitted_on_all_their_rows(finished: View) -> None:
    made = refit(finished, Wanted()).bundle
    plan: Plan = plan_of(Request(PENGUINS, "species", cv=3))
    assert made.metrics["count"] == len(plan.seen)
    averaged = refit(finished, Wanted(ensemble=2))
    assert "on the validation rows" in averaged.notes[0]


def test_there_is_no_one_network_of_a_search_on_folds(finished: View) -> None:
    with pytest.raises(Error) as raised:
        refit(finished, Wanted(rows="train"))
    assert str(raised.value) == (
        "study 'penguins' was searched on 3 folds, with a network for each; without --as-searched "
        "one network learns from the rows of all folds."
    )


def test_a_study_goes_on_with_its_own_folds_only(finished: View) -> None:
    with pytest.raises(Error) as raised:
        nntune.search(PENGUINS, "species", trials=6, space=SPACE, cv=4, db=finished.path)
    assert "split folds 3 -> 4" in str(raised.value)
