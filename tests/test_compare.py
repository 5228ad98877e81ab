"""Importance and comparison: what they say of studies whose truth is known."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_studies import SPACE, add_verdict, confirmation, make, updated

from nntune.cli import main
from nntune.errors import NotFoundError, UsageError
from nntune.report import importances, sides, standing, studies_compared_json, trials_compared_json
from nntune.report.importance import EVALUATORS, Importances
from nntune.report.pairing import Paired, _paired, in_words, paired
from nntune.space import build
from nntune.study import View, read

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> View:
    """Forty trials; the value depends on the learning rate alone."""
    return make(tmp_path_factory.mktemp("studies") / "made.db")


@pytest.fixture(scope="module")
def measured(made: View) -> dict[str, Importances]:
    """By each evaluator."""
    return {evaluator: importances(made, evaluator) for evaluator in EVALUATORS}


@pytest.fixture
def confirmed(made: View, tmp_path: Path) -> View:
    shutil.copy(made.path, tmp_path / "made.db")
    view = read(tmp_path / "made.db")
    add_verdict(view, "confirmation", confirmation(view))
    return view


@pytest.fixture
def nntune(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


# Importance


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_hyperparameter_that_decides_comes_first(
    made: View, measured: dict[str, Importances], evaluator: str
) -> None:
    found = measured[evaluator]

    assert found.entries[0].name == "lr"
    assert found.entries[0].share > 0.5
    assert found.entries[0].told
    assert sum(entry.share for entry in found.entries) == pytest.approx(1)
    assert {entry.name for entry in found.entries} | set(found.fixed) == set(made.definition.space)


def test_importance_is_the_same_each_time(made: View, measured: dict[str, Importances]) -> None:
    assert importances(made) == measured["ped-anova"]


def test_what_does_not_matter_is_said_to_be_chance(measured: dict[str, Importances]) -> None:
    told = {entry.name: entry.told for entry in measured["ped-anova"].entries}

    assert told == {
        "lr": True, "units": False, "activation": False, "dropout": False, "l2": False,
        "hidden_layers": False,
    }  # fmt: skip


def test_a_diverged_trial_counts_as_the_worst_for_the_best_third_alone(
    measured: dict[str, Importances],
) -> None:
    assert measured["ped-anova"].trials == {"complete": 10, "pruned": 28, "failed": 1}
    assert measured["fanova"].trials == {"complete": 10, "pruned": 28}


def test_zero_or_not_belongs_to_the_hyperparameter_it_is_of(tmp_path: Path) -> None:
    space = build({"l2": "0,1e-6:1e-2:log", "lr": "1e-2", "units": "16", "dropout": "0",
                   "hidden_layers": "2", "epochs": "30"})  # fmt: skip

    found = importances(make(tmp_path / "zero.db", space=space))

    assert {entry.name for entry in found.entries} == {"l2", "batch_size"}


def test_trials_outside_of_a_narrowed_space_do_not_stop_fanova(made: View) -> None:
    narrow = {**made.definition.space, "lr": "1e-3:1e-2:log"}
    view = View(made.path, made.name, made.study_id, made.definition.__class__(
        **{**made.definition.__dict__, "space": narrow}))  # fmt: skip

    assert sum(importances(view, "fanova").trials.values()) < 38


def test_fanova_says_if_no_trial_is_left_in_the_ranges(made: View) -> None:
    elsewhere = {**made.definition.space, "lr": "1:2"}
    view = View(made.path, made.name, made.study_id, replace(made.definition, space=elsewhere))

    with pytest.raises(NotFoundError, match="has 0 trials with a value inside the ranges"):
        importances(view, "fanova")


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_what_is_fixed_since_is_measured_by_the_trials_that_drew_it(
    made: View, measured: dict[str, Importances], evaluator: str
) -> None:
    fixed = {"lr": "5e-3", "l2": "0", "units": "16", "hidden_layers": "2"}
    definition = replace(made.definition, space=made.definition.space | fixed)

    assert importances(replace(made, definition=definition), evaluator) == measured[evaluator]


@pytest.mark.parametrize(
    ("narrow", "fixed"),
    [
        ({"lr": "1e-3:1e-2:log"}, {"lr": "0.5"}),
        ({"l2": "1e-4:1e-3:log"}, {"l2": "0"}),
        ({"hidden_layers": "2:3"}, {"hidden_layers": "5", "units": "32", "activation": "gelu"}),
    ],
)
def test_fanova_counts_all_trials_of_what_is_fixed_since(
    tmp_path: Path, narrow: dict[str, str], fixed: dict[str, str]
) -> None:
    ranges = {each.name: each.text for each in SPACE.hyperparameters}
    view = updated(make(tmp_path / "made.db"), build(ranges | narrow), 8)
    view = updated(view, build(ranges | narrow | fixed), 8)

    found = importances(view, "fanova")
    assert sum(found.trials.values()) == 38 + 8 + 8
    assert fixed.keys() <= {entry.name for entry in found.entries}


def test_few_trials_and_fixed_spaces_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as few:
        importances(make(tmp_path / "few.db", trials=10))
    fixed = build(
        {each.name: each.text.split(",")[0].split(":")[0] for each in SPACE.hyperparameters}
    )
    with pytest.raises(NotFoundError) as nothing:
        importances(make(tmp_path / "fixed.db", trials=20, space=fixed))

    assert str(few.value) == (
        "study 'few' has 8 trials with a value; importance needs 15, and tells little below 50."
    )
    assert str(nothing.value) == "study 'fixed' tunes nothing; every hyperparameter is fixed."


def test_importance_prints_bars_and_json(made: View, nntune: Command) -> None:
    code, out, err = nntune("importance", "--db", made.path)
    as_json = json.loads(nntune("importance", "--db", made.path, "--json")[1])

    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("lr                    0.")
    assert "no more than chance" in out
    assert "PED-ANOVA), from 10 complete, 28 pruned, 1 failed." in out
    assert as_json["schema"] == "nntune.importance/1"
    assert as_json["importances"][0]["more_than_chance"] is True


def test_an_evaluator_that_is_none_is_refused(made: View, nntune: Command) -> None:
    code, out, err = nntune("importance", "--db", made.path, "--evaluator", "fanov")

    assert (code, out) == (2, "")
    assert err == (
        "nntune: --evaluator fanov: there are ped-anova and fanova. Did you mean 'fanova'?\n"
    )


# Two trials


def test_two_trials_are_compared_by_what_differs(made: View) -> None:
    found = trials_compared_json(sides(made, 0, 1))

    one, two = (trial["params"] for trial in found["trials"])
    assert found["different"] == {
        name: [one[name], two[name]] for name in one if one[name] != two[name]
    }
    assert set(found["alike"]) == {name for name in one if one[name] == two[name]}
    assert found["common_epoch"] == 9
    assert found["until_common_epoch"] == [
        min(made.curve(0)[:9]), min(made.curve(1)[:9]),
    ]  # fmt: skip
    assert found["paired"] is None


def test_confirmed_trials_are_paired_by_seed(confirmed: View) -> None:
    first, second = (trial.number for trial in confirmed.trials(top=2))
    ours, theirs = (c["values"] for c in confirmed.verdicts("confirmation")[0]["candidates"])

    found = paired(confirmed, first, confirmed, second)
    swapped = paired(confirmed, second, confirmed, first)

    assert found is not None
    assert swapped is not None
    differences = [b - a for a, b in zip(ours, theirs, strict=True)]  # lower is better
    assert found.difference == pytest.approx(sum(differences) / 5)
    assert swapped.difference == -found.difference
    assert found.wins == swapped.losses == sum(each > 0 for each in differences)
    assert found.se == swapped.se > 0
    assert paired(confirmed, first, confirmed, 4) is None


def test_a_trial_that_failed_on_a_seed_is_not_paired(made: View, tmp_path: Path) -> None:
    shutil.copy(made.path, tmp_path / "made.db")
    view = read(tmp_path / "made.db")
    content = confirmation(view)
    content["candidates"][0]["values"].pop()
    add_verdict(view, "confirmation", content)
    first, second = (trial.number for trial in view.trials(top=2))

    assert paired(view, first, view, second) is None


def test_compare_prints_both_columns_the_pairs_and_the_curves(
    confirmed: View, nntune: Command
) -> None:
    first, second = (trial.number for trial in confirmed.trials(top=2))

    code, out, err = nntune("compare", first, second, "--db", confirmed.path)

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == [f"#{first}", f"#{second}"]
    assert (
        f"Confirmed on the same 5 seeds: #{first} is better on 5, in the mean by 0.04456 ± "
        "0.007071 log_loss (standard error).\n"
    ) in out
    assert lines[-1].startswith(f"#{second}")


def test_a_difference_within_two_standard_errors_is_too_close_to_call() -> None:
    said = in_words(Paired(5, -0.01, 0.005, 2, 3), ["#1", "#2"], "rmse")

    assert said == (
        "Confirmed on the same 5 seeds: #2 is better on 3, in the mean by 0.01 ± 0.005 rmse "
        "(standard error): too close to call."
    )


# Two studies


def test_two_studies_are_compared_by_definition_and_winner(made: View, tmp_path: Path) -> None:
    other = make(tmp_path / "other.db", trials=24, seed=1)

    found = studies_compared_json(standing(made), standing(other))

    assert found["definitions"] == {"seed": [0, 1]}
    assert found["comparable"] is True
    assert [study["best"]["trial"] for study in found["studies"]] == [
        each.number for each in (made.trials(top=1)[0], other.trials(top=1)[0])
    ]


def test_a_smaller_first_bracket_is_named_and_a_whole_one_is_no_difference(made: View) -> None:
    def differing(first: int) -> object:
        training = made.definition.training | {"first": first}
        other = replace(made, definition=replace(made.definition, training=training))
        return studies_compared_json(standing(made), standing(other))["definitions"]

    assert differing(3) == {"first bracket": [8, 3]}
    assert differing(8) == {}


def test_seeds_of_equal_values_are_won_by_none() -> None:
    found = _paired([0.0, 0.0, 0.0, -0.1, -0.1])

    assert (found.wins, found.losses) == (0, 2)
    assert "B is better on 2, in the mean" in in_words(found, ["A", "B"], "rmse")


def test_a_range_of_ones_own_network_has_its_flag(made: View) -> None:
    space = {**made.definition.space, "net.width": "4:8"}
    other = replace(made, definition=replace(made.definition, space=space))

    found = studies_compared_json(standing(made), standing(other))["definitions"]

    assert found == {"--set width": [None, "4:8"]}


def test_values_on_other_rows_are_said_not_to_compare(
    made: View, tmp_path: Path, nntune: Command
) -> None:
    other = make(tmp_path / "other.db", fingerprint="else")

    code, out, err = nntune("compare", made.path, other.path)

    assert (code, err) == (0, "")
    assert "fingerprint" in out
    assert out.endswith("The rows differ, so the values belong to different validation rows.\n")


def test_two_confirmed_studies_on_the_same_rows_are_paired(confirmed: View, tmp_path: Path) -> None:
    other = make(tmp_path / "other.db", seed=1)
    add_verdict(other, "confirmation", confirmation(other, shift=0.2))

    found = studies_compared_json(standing(confirmed), standing(other))

    assert found["paired"]["wins"] == found["paired"]["seeds"] == 5
    assert found["studies"][1]["confirmed"]["trial"] == other.trials(top=1)[0].number


@pytest.mark.parametrize("words", [("12", "other"), ("made", "other", "third")])
def test_a_mixture_of_trials_and_studies_is_refused(
    words: tuple[str, ...], nntune: Command
) -> None:
    code, out, err = nntune("compare", *words)

    assert (code, out) == (UsageError.exit_code, "")
    assert err.startswith("nntune: compare takes two trials, as in nntune compare 12 30 STUDY,")


def test_a_trial_that_is_not_there_is_a_sentence(made: View, nntune: Command) -> None:
    code, _, err = nntune("compare", 0, 99, "--db", made.path)

    assert code == NotFoundError.exit_code
    assert err == "nntune: study 'made' has trials 0 to 39; there is no trial 99.\n"
