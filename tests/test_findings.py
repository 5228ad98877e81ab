"""Each finding has a study that raises it and one that does not."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import nntune
from nntune.report.configuration import configuration, edge_names
from nntune.space import Space, parse
from nntune.study import Definition, Outcome, View, open_writer, read
from nntune.verdict.findings import Finding, findings

SPACE = {"lr": "1e-4:1e-1:log", "units": "16,32,64", "dropout": "0:0.5", "epochs": "100"}
DEFINITION = Definition(
    data={"source": "y.csv", "target": "y", "task": "regression",
          "counts": {"train": 300, "valid": 200}},
    space=SPACE, metric="rmse", direction="minimize", seed=0, sampler="tpe", pruner="halving",
    training={"width": 32, "eta": 3, "rungs": [1, 3, 9], "patience": 20, "product": "torch"},
    versions={}, command="nntune search y.csv",
)  # fmt: skip
FALLING = [1 / epoch for epoch in range(1, 51)]


class Made:
    """A study of trials made up one by one."""

    def __init__(self, path: Path, definition: Definition = DEFINITION) -> None:
        self.path, self.definition = path, definition
        space = Space(tuple(parse(name, text) for name, text in definition.space.items()))
        self._distributions = space.distributions()
        self._trials: list[tuple[dict[str, Any], Outcome]] = []

    def add(
        self,
        value: float | None,
        *,
        state: str = "complete",
        curve: Any = FALLING,
        epoch: int = 50,
        reason: str = "early stop",
        **params: Any,
    ) -> None:
        params = {"lr": 0.003, "units": 32, "dropout": 0.25} | params
        number = len(self._trials)
        self._trials.append(
            (params, Outcome(number, state, value, value, epoch, {}, {}, reason, 1, curve))
        )

    def at(self, rate: float, *, lost: bool) -> None:
        """A trial of this learning rate, which diverged or did not."""
        if lost:
            self.add(None, state="failed", reason="diverged at epoch 3", lr=rate)
        else:
            self.add(0.3 + abs(np.log(rate / 3e-3)), lr=rate)

    def view(self, verdict: dict[str, Any] | None = None, **attributes: Any) -> View:
        with open_writer(self.path, "made", self.definition) as writer:
            writer.begin(0, [(outcome.number, params, self._distributions)
                             for params, outcome in self._trials])  # fmt: skip
            writer.report([outcome for _, outcome in self._trials])
            if verdict:
                writer.add_verdict("confirmation", verdict)
            for key, entry in attributes.items():
                writer.set_attribute(key, entry)
        return read(self.path, "made")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "made.db")


def names(view: View) -> list[str]:
    return [each.name for each in findings(view)]


def test_a_study_without_flaws_has_no_findings(made: Made) -> None:
    made.add(0.3)
    assert findings(made.view()) == []


def test_a_study_without_a_value_has_no_findings(made: Made) -> None:
    made.add(None, state="failed", reason="diverged at epoch 1")
    assert findings(made.view()) == []


def test_a_best_value_at_an_edge_is_found(made: Made) -> None:
    made.add(0.3, lr=0.1)
    assert findings(made.view()) == [
        Finding(
            "edge",
            "lr 0.1 lies at the high end of 1e-4:1e-1:log; --lr 1e-4:1:log looks further, with "
            "--update-space.",
            "--lr 1e-4:1:log",
        )
    ]


@pytest.mark.parametrize(("rate", "gauge"), [(0.02, f"{'·' * 23}>"), (2e-4, f"<{'·' * 23}")])
def test_a_best_value_outside_of_a_narrowed_range_lies_at_no_end(
    made: Made, rate: float, gauge: str
) -> None:
    made.add(0.3, lr=rate)
    view = made.view()
    narrow = replace(view.definition, space={**SPACE, "lr": "1e-3:1e-2:log"})
    view = replace(view, definition=narrow)
    assert findings(view) == [
        Finding(
            "outside",
            f"lr {rate} lies outside of 1e-3:1e-2:log, the present range; it was drawn from an "
            "earlier one.",
            "",
        )
    ]
    params = {"lr": rate, "units": 32, "dropout": 0.25, "epochs": 100}
    assert edge_names(view.space, params) == {}
    console = Console(width=100)
    with console.capture() as capture:
        console.print(configuration(view.space, params))
    of_rate, of_units, *_ = capture.get().splitlines()[1:]
    assert gauge in of_rate
    assert of_rate.index("1e-3:1e-2:log") == of_units.index("16,32,64")


def test_a_zero_of_an_earlier_range_lies_outside_of_one_without() -> None:
    after = parse("l2", "1e-6:1e-2:log")
    assert (after.beyond(0.0), after.edge(0.0)) == ("low", None)
    assert parse("l2", "0,1e-6:1e-2:log").beyond(0.0) is None


def test_a_training_that_was_cut_off_while_it_improved_is_found(made: Made) -> None:
    made.add(0.01, curve=[1 / epoch for epoch in range(1, 101)], epoch=100, reason="epochs")
    (found,) = findings(made.view())
    assert (found.name, found.flag) == ("unfinished", "--epochs 200")


def test_a_curve_that_turns_is_found(made: Made) -> None:
    curve = [1 / epoch for epoch in range(1, 11)] + [0.1 + 0.02 * past for past in range(20)]
    made.add(0.1, curve=curve, epoch=10)
    (found,) = findings(made.view())
    assert found.name == "overfitting"
    assert "after epoch 10 trial #0 gets worse, rmse 0.1 to 0.48 at epoch 30" in found.sentence


def test_a_network_that_has_no_dropout_is_not_advised_one(tmp_path: Path) -> None:
    space = {"model": "net.py:Net", "lr": "1e-4:1e-1:log", "epochs": "100"}
    made = Made(tmp_path / "made.db", replace(DEFINITION, space=space))
    made._distributions |= Made(tmp_path / "other.db")._distributions
    curve = [1 / epoch for epoch in range(1, 11)] + [0.1 + 0.02 * past for past in range(20)]
    made.add(0.1, curve=curve, epoch=10)
    (found,) = findings(made.view())
    assert found.flag == "--l2 1e-5:1e-1:log"


def test_a_curve_that_stays_level_does_not_overfit(made: Made) -> None:
    made.add(0.1, curve=[1 / epoch for epoch in range(1, 11)] + [0.12] * 20, epoch=10)
    assert names(made.view()) == []


def test_where_trials_diverge_is_found(made: Made) -> None:
    for rate in np.geomspace(1e-4, 9e-2, 30):
        made.at(float(rate), lost=bool(rate > 0.02))
    (found,) = findings(made.view())
    assert found.name == "diverged"
    assert "7 of 30 trials diverged, all with lr of 0.022 or more (of 7 there)" in found.sentence
    assert found.flag == "--lr 1e-4:2.2e-2:log"


@pytest.mark.parametrize(
    ("text", "least", "kept"),
    [
        ("1e-4:1e-1:log", 0.022034, "1e-4:2.2e-2:log"),
        ("1e-4:1e-1:log", 0.02206, "1e-4:2.19e-2:log"),
        ("1e-4:1e-1:log", 0.01, "1e-4:9.95e-3:log"),
        ("0.1:0.5:0.1", 0.4, "0.1:0.3:0.1"),
        ("0.1:0.5:0.1", 0.2, "0.1"),
    ],
)
def test_where_trials_diverge_is_left_out_by_the_range_that_is_advised(
    tmp_path: Path, text: str, least: float, kept: str
) -> None:
    made = Made(tmp_path / "made.db", replace(DEFINITION, space={**SPACE, "lr": text}))
    low = parse("lr", text).low
    for place in range(30):
        made.add(None if place < 6 else 0.3 + place, state="complete" if place >= 6 else "failed",
                 reason="early stop" if place >= 6 else "diverged at epoch 3",
                 lr=least if place < 6 else low)  # fmt: skip

    flags = [each.flag for each in findings(made.view()) if each.name == "diverged"]

    assert flags == [f"--lr {kept}"]


def test_a_trial_that_was_lost_in_a_damaged_file_diverged_nowhere(made: Made) -> None:
    for rate in np.geomspace(1e-4, 9e-2, 30):
        made.at(float(rate), lost=bool(rate > 0.02))
    view = made.view()
    with closing(sqlite3.connect(made.path)) as connection:
        connection.execute("DELETE FROM trial_params WHERE trial_id = 30")
        connection.execute("UPDATE trials SET state = 'FAIL' WHERE trial_id = 30")
        connection.commit()

    assert "diverged" in names(view)


def test_one_trial_that_diverged_is_no_pattern(made: Made) -> None:
    made.add(0.3)
    made.add(None, state="failed", reason="diverged at epoch 3", lr=0.09)
    assert names(made.view()) == []


def test_trials_that_diverge_anywhere_are_found_without_a_place(made: Made) -> None:
    for place, rate in enumerate(np.geomspace(1e-4, 9e-2, 30)):
        made.at(float(rate), lost=place % 7 == 0)
    (found,) = findings(made.view())
    assert "nowhere in particular" in found.sentence


def test_a_hyperparameter_that_does_not_matter_is_found(made: Made) -> None:
    draws = np.random.default_rng(2)
    for place in range(120):
        rate, dropout = float(10 ** draws.uniform(-3.9, -1.1)), float(draws.uniform(0.05, 0.45))
        value = abs(np.log(rate / 3e-3)) + 5 * dropout
        made.add(value, lr=rate, dropout=dropout, units=(16, 32, 64)[place % 3])
    found = [each for each in findings(made.view()) if each.name == "indifferent"]
    assert [each.flag.split()[0] for each in found] == ["--units"]
    assert "units does not matter, as far as 120 trials show" in found[0].sentence


def test_few_trials_do_not_say_what_matters(made: Made) -> None:
    for place in range(40):
        made.add(0.3 + place % 2, units=(16, 32, 64)[place % 3])
    assert "indifferent" not in names(made.view())


def confirmation(means: list[float], sd: float) -> dict[str, Any]:
    return {
        "candidates": [
            {"trial": place, "searched": 0.1, "values": [mean] * 5, "mean": mean, "sd": sd}
            for place, mean in enumerate(means)
        ],
        "winner": 0, "seeds": [1, 2, 3, 4, 5],
    }  # fmt: skip


@pytest.mark.parametrize(("sd", "expected"), [(0.2, ["noisy"]), (0.02, [])])
def test_candidates_within_noise_are_found(made: Made, sd: float, expected: list[str]) -> None:
    for value in (0.3, 0.31, 0.32):
        made.add(value)
    assert names(made.view(confirmation([0.3, 0.35, 0.4], sd))) == expected


@pytest.mark.parametrize(("rows", "expected"), [(159, ["small"]), (160, [])])
def test_few_validation_rows_are_found(tmp_path: Path, rows: int, expected: list[str]) -> None:
    data = {**DEFINITION.data, "counts": {"train": 200, "valid": rows}}
    made = Made(tmp_path / "made.db", replace(DEFINITION, data=data))
    made.add(0.3)
    assert names(made.view()) == expected


@pytest.mark.parametrize(
    ("request_", "flag", "advice"),
    [
        ({}, "--cv 5", "--cv 5 validates on all of training and validation, in a new study."),
        ({"group": "day"}, "--cv 5", "--cv 5 (with 5 groups or more) validates on all of training "
         "and validation, in a new study."),
        ({"valid": "v.csv"}, "--valid", "--valid with more rows says more."),
        ({"time": "day"}, "", "only a longer table says more."),
        ({"lags": 4}, "", "only a longer table says more."),
    ],
)  # fmt: skip
def test_of_few_validation_rows_folds_are_advised_where_they_are_possible(
    tmp_path: Path, request_: dict[str, Any], flag: str, advice: str
) -> None:
    data = {**DEFINITION.data, "counts": {"train": 200, "valid": 50}, "request": request_}
    made = Made(tmp_path / "made.db", replace(DEFINITION, data=data))
    made.add(0.3)
    sentence = "the value rests on 50 validation rows: small differences mean nothing; "
    assert findings(made.view()) == [Finding("small", sentence + advice, flag)]


def plain(row: int) -> str:
    return f"{row * 7919 % 1000 / 100},{row * 104729 % 997},{row * 31 % 101}"


TABLES = {
    "imbalanced": (
        "a,b,c,y",
        [f"{plain(row)},{'no' if row % 20 else 'yes'}" for row in range(300)],
    ),
    "leak": ("a,b,c,y", [f"{plain(row)},{2 * (row * 31 % 101) + 1}" for row in range(300)]),
    "duplicates": ("a,b,y", [plain(row % 60) for row in range(300)]),
    "groups": (
        "user_id,a,b,y",
        [f"{row * 37 % 60},{plain(row)}" for row in range(300)],
    ),
    "order": ("year,a,b,y", [f"{1900 + row // 4},{plain(row)}" for row in range(300)]),
}


def searched(folder: Path, heading: str, rows: list[str]) -> View:
    table = folder / "made.csv"
    table.write_text("\n".join([heading, *rows]))
    return nntune.search(
        table, heading.split(",")[-1], trials=1, space={"epochs": 1}, db=folder / "made.db"
    )


@pytest.mark.parametrize("name", TABLES)
def test_what_the_data_say_is_kept_with_the_study(tmp_path: Path, name: str) -> None:
    assert name in names(searched(tmp_path, *TABLES[name]))


def test_plain_data_have_no_findings(tmp_path: Path) -> None:
    view = searched(tmp_path, "a,b,y", [plain(row) for row in range(1000)])
    assert (
        set(names(view)) & {"imbalanced", "leak", "duplicates", "order", "groups", "small"} == set()
    )


def test_best_of_ten_thousand_trials_answers_at_once(made: Made) -> None:
    draws = np.random.default_rng(0)
    for _ in range(10_000):
        made.add(float(draws.uniform(0.2, 1)), lr=float(10 ** draws.uniform(-3.9, -1.1)), curve=[])
    view = made.view()
    started = time.process_time()
    findings(view)
    assert time.process_time() - started < 0.4
    run = subprocess.run(
        [sys.executable, "-m", "nntune", "best", made.path, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout)["trials"]["complete"] == 10_000
