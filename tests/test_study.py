"""The study's file: what is written comes back, whatever happens in between."""

import errno
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nntune.errors import DatabaseError, Error, NotFoundError, RefusedError, UsageError
from nntune.study import (
    Definition,
    Outcome,
    Summary,
    Trial,
    View,
    Writer,
    default_path,
    open_existing,
    open_writer,
    read,
    studies,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE = {
    "hidden_layers": "1:4",
    "l2": "0,1e-6:1e-1:log",
    "batch_size": "32,64",
    "epochs": "9",
    "lr": "1e-4:3e-2:log",
    "activation": "relu,tanh",
}
DEFINITION = Definition(
    data={
        "source": "data/churn.csv",
        "fingerprint": "5f3a",
        "target": "left",
        "task": "binary",
        "split": {"train": 0.64, "seed": 0},
    },
    space=SPACE,
    metric="log_loss",
    direction="minimize",
    seed=0,
    sampler="tpe",
    pruner="halving",
    training={"width": 32, "eta": 3, "rungs": [1, 3, 9], "patience": 20, "product": "torch"},
    versions={"nntune": "0.1.0"},
    command="nntune search data/churn.csv -t left",
)
DISTRIBUTIONS = {
    "hidden_layers": IntDistribution(1, 4),
    "l2_zero": CategoricalDistribution([False, True]),
    "l2": FloatDistribution(1e-6, 1e-1, log=True),
    "batch_size": CategoricalDistribution((32, 64)),
    "lr": FloatDistribution(1e-4, 3e-2, log=True),
    "activation": CategoricalDistribution(("relu", "tanh")),
}


def configuration(number: int) -> dict[str, object]:
    params = {
        "hidden_layers": 1 + number % 4,
        "l2_zero": bool(number % 2),
        "l2": 1e-3,
        "batch_size": (32, 64)[number % 2],
        "lr": 1e-4 * (1 + number % 100),
        "activation": ("relu", "tanh")[number % 2],
    }
    if params["l2_zero"]:
        del params["l2"]
    return params


def begin(writer: Writer, first: int, count: int, bracket: int = 0) -> None:
    numbers = range(first, first + count)
    asked = [(number, configuration(number)) for number in numbers]
    writer.begin(
        bracket,
        [(number, params, {k: DISTRIBUTIONS[k] for k in params}) for number, params in asked],
    )


def outcome(number: int, value: float | None, state: str = "complete", rung: int = 1) -> Outcome:
    rungs = {} if value is None else {rung: value}
    losses = {rung: 2 * value} if value is not None else {}
    curve = [] if value is None else [value] * rung
    reason = {"complete": "epochs", "pruned": f"rung {rung}", "failed": "diverged"}.get(state, "")
    loss = None if value is None else 2 * value
    return Outcome(number, state, value, loss, rung, rungs, losses, reason, 0.5, curve)


def filled(path: Path, name: str = "churn", definition: Definition = DEFINITION) -> Path:
    """A study with trials 0 to 4: two complete, one pruned, one failed, one running."""
    with open_writer(path, name, definition) as writer:
        begin(writer, 0, 5)
        writer.report([outcome(0, 0.5, "running"), outcome(1, 0.4, "running")])
        writer.report(
            [
                outcome(0, 0.3, rung=3),
                outcome(1, 0.2, rung=3),
                outcome(2, 0.7, "pruned"),
                outcome(3, None, "failed"),
                outcome(4, 0.1, "running"),
            ]
        )
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studies" / "churn.db"


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder and a user that file permissions bind; root passes all of them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


posix = pytest.mark.skipif(os.name == "nt", reason="permissions and signals of POSIX")


def sentence(error: type[Error], path: Path, name: str | None = None) -> str:
    with pytest.raises(error) as caught:
        read(path, name)
    return str(caught.value)


def refusal(path: Path, definition: Definition = DEFINITION, **flags: bool) -> str:
    before = path.read_bytes()
    with pytest.raises(RefusedError) as caught:
        open_writer(path, "churn", definition, **flags)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return str(caught.value)


# What is written comes back


def test_what_is_reported_is_read_back(path: Path) -> None:
    trial = read(filled(path)).trial(1)
    assert trial._replace(started="", finished="") == Trial(
        number=1,
        state="complete",
        params=configuration(1),
        distributions_json=trial.distributions_json,
        value=0.2,
        epoch=3,
        rungs={1: 0.4, 3: 0.2},
        reason="epochs",
        bracket=0,
        seconds=0.5,
        attempts=1,
        started="",
        finished="",
        loss=0.4,
        losses={1: 0.8, 3: 0.4},
    )
    assert trial.started.endswith("+00:00")
    assert trial.started <= trial.finished
    assert json.loads(trial.distributions_json["lr"])["attributes"]["log"] is True


def test_a_trial_in_memory_equals_the_stored_one(path: Path) -> None:
    reported = outcome(0, 0.25, rung=3)
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 1, bracket=7)
        writer.report([outcome(0, 0.5, "running")])
        writer.report([reported])
        (stored,) = writer.trials()
    made = Trial.new(0, configuration(0), 7)
    made = made.with_outcome(outcome(0, 0.5, "running")).with_outcome(reported)
    assert stored._replace(started="", finished="", distributions_json={}) == made


def test_a_running_trial_has_rungs_and_no_value(path: Path) -> None:
    trial = read(filled(path)).trial(4)
    assert (trial.state, trial.value, trial.rungs) == ("running", None, {1: 0.1})
    assert trial.finished == ""


def test_a_failed_trial_has_no_value(path: Path) -> None:
    trial = read(filled(path)).trial(3)
    assert (trial.state, trial.value, trial.reason) == ("failed", None, "diverged")


def test_curves_are_kept_in_single_precision(path: Path) -> None:
    curve = [0.1, math.inf, 1e39, 0.25]
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 2)
        writer.report([outcome(0, 0.25)._replace(curve=curve)])
    assert read(path).curve(0) == pytest.approx([0.1, math.inf, math.inf, 0.25], rel=1e-7)
    assert read(path).curve(1) == []


def test_rung_values_that_are_no_numbers_are_kept_as_optuna_keeps_them(path: Path) -> None:
    values = {1: math.inf, 3: -math.inf, 9: math.nan}
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 1)
        writer.report([outcome(0, None, "failed")._replace(rungs=values, losses=values)])
    trial, (theirs,) = read(path).trial(0), by_optuna(path).trials
    for found in (trial.rungs, trial.losses, theirs.intermediate_values):
        assert found == pytest.approx(values, nan_ok=True)


def test_a_pruned_trial_without_a_finite_value_has_none(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 1)
        writer.report([outcome(0, math.nan, "pruned")])
    assert read(path).trial(0).value is None
    assert by_optuna(path).trials[0].value is None


def test_the_definition_comes_back(path: Path) -> None:
    assert read(filled(path)).definition == DEFINITION


def test_attributes_are_kept_with_the_study(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        writer.set_attribute("seen", [1])
        writer.set_attribute("seen", [1, 2])
    assert read(path).attributes() == {"seen": [1, 2]}
    assert by_optuna(path).user_attrs == {"seen": [1, 2]}


# Optuna reads the same


def by_optuna(path: Path, name: str = "churn") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def test_verdicts_are_kept_beside_a_finished_study(path: Path) -> None:
    before = read(filled(path)).trials()
    with open_existing(path, "churn") as writer:
        writer.add_verdict("test", {"schema": "nntune.test/1", "opening": 1})
    with open_existing(path, "churn") as writer:
        writer.add_verdict("test", {"schema": "nntune.test/1", "opening": 2})
        writer.add_verdict("confirmation", {"schema": "nntune.confirmation/1"})
    view = read(path)
    assert [each["opening"] for each in view.verdicts("test")] == [1, 2]
    assert datetime.fromisoformat(view.verdicts("test")[0]["made_at"]).tzinfo == UTC
    assert len(view.verdicts("confirmation")) == 1
    assert (view.trials(), view.definition) == (before, DEFINITION)


def test_verdicts_go_with_their_study(path: Path) -> None:
    filled(path)
    filled(path, "other")
    for name in ("churn", "other"):
        with open_existing(path, name) as writer:
            writer.add_verdict("test", {"of": name})
    optuna.delete_study(study_name="churn", storage=f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("SELECT content FROM nntune_verdict").fetchall()
    assert kept == [('{"of": "other"}',)]


def test_a_study_from_before_verdicts_is_read_and_gone_on_with(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER nntune_verdict_deleted")
        connection.execute("DROP TABLE nntune_verdict")
        connection.commit()
    assert read(path).verdicts("test") == []
    with open_writer(path, "churn", DEFINITION) as writer:
        writer.add_verdict("test", {"opening": 1})
    assert len(read(path).verdicts("test")) == 1


def test_only_a_study_that_is_there_is_opened_to_add_to(path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file"):
        open_existing(path, "churn")
    filled(path)
    with pytest.raises(NotFoundError, match="holds no study 'chrun' of nntune"):
        open_existing(path, "chrun")
    with open_writer(path, "churn", DEFINITION), pytest.raises(DatabaseError, match="in use"):
        open_existing(path, "churn")


def test_optuna_reads_the_same_trials(path: Path) -> None:
    view = read(filled(path))
    names = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    for theirs in by_optuna(path).trials:
        ours = view.trial(theirs.number)
        assert names[theirs.state.name] == ours.state
        assert theirs.params == ours.params
        assert theirs.distributions == {key: DISTRIBUTIONS[key] for key in ours.params}
        assert theirs.value == ours.value
        assert theirs.intermediate_values == ours.rungs
        assert theirs.datetime_start.astimezone(UTC).isoformat() == ours.started
    assert by_optuna(path).best_trial.number == view.best().number


def test_optunas_command_lists_the_trials(path: Path) -> None:
    command = "from optuna.cli import main; import sys; sys.exit(main())"
    arguments = ["trials", "--study-name", "churn", "--storage", f"sqlite:///{filled(path)}"]
    found = subprocess.run(
        [sys.executable, "-c", command, *arguments, "-f", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(found.stdout)
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4]
    states = ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [row["state"] for row in rows] == states


def test_optuna_can_go_on_with_the_file(path: Path) -> None:
    study = by_optuna(filled(path))
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=1, seed=0)
    assert study.ask(DISTRIBUTIONS).number == 5


def test_what_optuna_deletes_takes_our_rows_with_it(path: Path) -> None:
    optuna.delete_study(study_name="churn", storage=f"sqlite:///{filled(path)}")
    optuna.create_study(study_name="theirs", storage=f"sqlite:///{path}")
    assert sentence(NotFoundError, path) == f"{path} holds no study of nntune."
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 1)
    assert read(path).trial(0).losses == {}


# Asking


def test_trials_come_best_first_and_those_without_a_value_last(path: Path) -> None:
    view = read(filled(path))
    assert [trial.number for trial in view.trials()] == [1, 0, 2, 3, 4]
    assert [trial.number for trial in view.trials(top=2)] == [1, 0]
    assert [trial.number for trial in view.trials(state="pruned")] == [2]
    assert view.best().number == 1


def test_the_largest_comes_first_where_the_metric_is_maximized(path: Path) -> None:
    view = read(filled(path, definition=replace(DEFINITION, direction="maximize")))
    assert [trial.number for trial in view.trials()] == [2, 0, 1, 3, 4]
    assert (view.direction, view.best().number) == ("maximize", 2)
    assert by_optuna(path).direction.name == "MAXIMIZE"


def test_ties_go_to_the_earlier_trial(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 3)
        writer.report([outcome(number, 0.5) for number in (2, 1, 0)])
    assert read(path).best().number == 0


def test_counts_name_every_state(path: Path) -> None:
    view = read(filled(path))
    assert view.counts() == {"running": 1, "complete": 2, "pruned": 1, "failed": 1}
    assert view.counts()["running"] == 1


def test_a_study_without_trials_has_no_best(path: Path) -> None:
    open_writer(path, "churn", DEFINITION).close()
    assert (read(path).best(), read(path).trials()) == (None, [])
    with pytest.raises(NotFoundError, match="has no trials yet; there is no trial 0"):
        read(path).trial(0)


def test_questions_that_have_no_answer_say_so(path: Path) -> None:
    view = read(filled(path))
    for ask in (view.trial, view.curve):
        with pytest.raises(NotFoundError) as caught:
            ask(99)
        assert str(caught.value) == "study 'churn' has trials 0 to 4; there is no trial 99."
    with pytest.raises(UsageError, match=r"no state 'prune'; .* Did you mean 'pruned'\?"):
        view.trials(state="prune")


def test_a_folder_lists_its_studies_and_skips_other_files(path: Path) -> None:
    filled(path)
    (path.parent / "junk.db").write_text("nothing")
    (path.parent / "empty.db").touch()
    sqlite3.connect(path.parent / "other.db").close()
    (found,) = studies(path.parent)
    assert found._replace(changed="") == Summary("churn", path, 5, 0.2, "log_loss", "")
    assert len(found.changed) == len("2026-01-31 12:00:00")
    assert studies(path) == [found]


def test_the_name_is_needed_only_where_a_file_holds_several_studies(path: Path) -> None:
    assert read(filled(path)).name == "churn"
    filled(path, "second")
    assert sentence(UsageError, path) == f"{path} holds the studies churn, second; say which one."
    assert read(path, "second").trial(4).params == configuration(4)
    assert sentence(NotFoundError, path, "secnd") == (
        f"{path} holds no study 'secnd'; it holds churn, second. Did you mean 'second'?"
    )


def test_studies_in_one_file_do_not_mix(path: Path) -> None:
    filled(path)
    with open_writer(path, "second", DEFINITION) as writer:
        begin(writer, 0, 2, bracket=5)
        writer.report([outcome(0, 0.9), outcome(1, 0.8)])
    assert [trial.value for trial in read(path, "second").trials()] == [0.8, 0.9]
    assert len(read(path, "churn").trials()) == 5
    assert read(path, "churn").best().value == by_optuna(path).best_value == 0.2


def test_reading_needs_only_the_standard_library(path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from nntune.study import read, studies
view = read(Path({str(filled(path))!r}))
view.counts(), view.trials(top=3), view.trial(0), view.curve(0), view.best(), view.attributes()
studies(Path({str(path.parent)!r}))
heavy = {{"optuna", "sqlalchemy", "alembic", "torch", "numpy", "pandas", "sklearn"}}
print(sorted(heavy & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_odd_characters_in_a_path_are_read_right(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "50% off?#1 é&mode=rw.db"
    assert read(filled(path)).best().number == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_ten_thousand_trials_are_ranked_quickly(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        for bracket in range(10):
            begin(writer, 1000 * bracket, 1000, bracket)
            numbers = range(1000 * bracket, 1000 * bracket + 1000)
            writer.report([outcome(number, (number * 7919) % 10007) for number in numbers])
    view = read(path)
    durations = []
    for _ in range(5):
        start = time.process_time()
        found = view.trials(top=20)
        durations.append(time.process_time() - start)
    assert [trial.value for trial in found] == sorted(t.value for t in view.trials())[:20]
    assert min(durations) < 0.05


# One writer


def test_nothing_is_left_beside_a_closed_study(path: Path) -> None:
    read(filled(path)).trials()
    assert [each.name for each in path.parent.iterdir()] == ["churn.db"]


def test_a_second_writer_is_refused_while_the_first_is_open(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION), pytest.raises(DatabaseError) as caught:
        open_writer(path, "churn", DEFINITION)
    assert str(caught.value) == (
        f"{path} is in use by another nntune search (process {os.getpid()}); "
        "wait for it or use --study NAME with another --db."
    )
    open_writer(path, "churn", DEFINITION).close()


def test_a_lock_file_that_stayed_behind_is_harmless(path: Path) -> None:
    filled(path)
    path.with_name("churn.db.lock").write_text("123456789")
    open_writer(path, "churn", DEFINITION).close()
    assert not path.with_name("churn.db.lock").exists()


def test_readers_see_whole_events_while_a_writer_works(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        stop = threading.Event()
        seen: list[int] = []

        def ask() -> None:
            while not stop.is_set():
                counts = read(path).counts()
                seen.append(counts["running"] + counts["complete"])

        reader = threading.Thread(target=ask)
        reader.start()
        for bracket in range(20):
            begin(writer, 8 * bracket, 8, bracket)
            writer.report([outcome(8 * bracket + place, 0.5) for place in range(8)])
        stop.set()
        reader.join()
    assert seen == sorted(seen)
    assert {count % 8 for count in seen} == {0}


def test_numbers_have_to_follow_on(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 2)
        for first in (1, 3):
            with pytest.raises(RuntimeError, match="do not follow on the 2 of churn"):
                begin(writer, first, 2)
        assert [trial.number for trial in writer.trials()] == [0, 1]


def test_a_trial_ends_once(path: Path) -> None:
    with open_writer(filled(path), "churn", DEFINITION) as writer:
        for number in (0, 99):
            with pytest.raises(RuntimeError, match=f"trial {number} of study 'churn' is not run"):
                writer.report([outcome(number, 0.5)])
        with pytest.raises(RuntimeError, match="is not running"):
            writer.retry([0])


def test_an_event_is_stored_whole_or_not_at_all(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 2)
        for wrong in (outcome(0, 0.5), outcome(1, 0.1)._replace(value=math.inf)):
            with pytest.raises((RuntimeError, ValueError, sqlite3.IntegrityError)):
                writer.report([outcome(0, 0.4), wrong])
        assert [(t.state, t.rungs) for t in writer.trials()] == [("running", {})] * 2
        writer.report([outcome(0, 0.4)])


def test_a_full_disk_keeps_what_was_stored(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 2)
        (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
        writer._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DatabaseError) as caught:
            writer.report([outcome(0, 0.5)._replace(curve=[0.5] * 10_000)])
    assert str(caught.value) == (
        f"{path}: the disk is full; everything up to the last rung is kept."
    )
    assert read(path).counts()["running"] == 2


def test_a_file_that_vanishes_while_it_is_written_is_noticed(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as opened:
        path.unlink()
        with pytest.raises(DatabaseError, match="was removed or replaced while the search ran"):
            opened.set_attribute("a", 1)


def test_a_file_that_is_damaged_while_it_is_written_is_named(path: Path) -> None:
    opened = open_writer(path, "churn", DEFINITION)
    with path.open("r+b") as file:
        file.seek(0)
        file.write(bytes(path.stat().st_size))
    with pytest.raises(DatabaseError, match="it is damaged"), opened:
        opened.set_attribute("a", "x" * 100_000)


def test_orphans_are_adopted_under_their_numbers(path: Path) -> None:
    with open_writer(filled(path), "churn", DEFINITION) as writer:
        orphans = [trial.number for trial in writer.trials() if trial.state == "running"]
        writer.retry(orphans)
        writer.report([outcome(4, 0.1, "running")])
        writer.report([outcome(4, 0.05, rung=3)])
    trial = read(path).trial(4)
    assert (orphans, trial.attempts, trial.rungs) == ([4], 2, {1: 0.1, 3: 0.05})
    assert read(path).best().number == 4


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_study import DEFINITION, begin, open_writer, outcome
with open_writer(Path(sys.argv[2]), "churn", DEFINITION) as writer:
    trials = writer.trials()
    orphans = [trial.number for trial in trials if trial.state == "running"]
    if orphans:
        writer.retry(orphans)
        writer.report([outcome(number, 0.5, rung=9) for number in orphans])
    print("open", flush=True)
    for bracket in range(len(trials) // 16, 100_000):
        begin(writer, 16 * bracket, 16, bracket)
        numbers = range(16 * bracket, 16 * bracket + 16)
        writer.report([outcome(number, 1.0, "running") for number in numbers])
        writer.report([outcome(number, 0.5, rung=9) for number in numbers])
"""


@posix
def test_a_writer_killed_at_any_moment_leaves_a_whole_study(path: Path) -> None:
    draw = random.Random(0)
    count = 0
    for _ in range(8):
        worker = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout
        assert worker.stdout.readline() == "open\n"
        time.sleep(draw.uniform(0, 0.05))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        count = check_whole(read(path), count)
    with open_writer(path, "churn", DEFINITION) as writer:
        assert len(writer.trials()) == count
    assert [each.name for each in path.parent.iterdir()] == ["churn.db"]


def check_whole(view: View, before: int) -> int:
    """Whole brackets, and every ended trial has its value, rungs and curve."""
    with closing(sqlite3.connect(view.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    trials = sorted(view.trials(), key=lambda trial: trial.number)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len(trials) % 16 == 0
    assert len(trials) >= before
    for trial in trials:
        assert trial.params == configuration(trial.number)
        if trial.state == "complete":
            assert (trial.value, trial.rungs[9]) == (0.5, 0.5)
    assert view.curve(0) in ([], [1.0], [0.5] * 9)
    return len(trials)


# Creating and resuming


def test_the_default_path_is_in_studies() -> None:
    assert default_path("churn") == Path("studies", "churn.db")


def test_a_study_is_resumed_with_the_same_definition(path: Path) -> None:
    moved = {**DEFINITION.data, "source": "elsewhere.csv"}
    again = replace(DEFINITION, data=moved, versions={}, command="nntune search elsewhere.csv")
    with open_writer(filled(path), "churn", again) as writer:
        assert len(writer.trials()) == 5
        assert writer.definition == DEFINITION


def test_other_data_is_refused_with_one_line_a_difference(path: Path) -> None:
    data = {**DEFINITION.data, "fingerprint": "77aa", "split": {"train": 0.64, "seed": 1}}
    other = replace(DEFINITION, data=data, seed=1)
    expected = (
        "this search differs from study 'churn':\n"
        "  fingerprint 5f3a -> 77aa\n"
        "  split seed 0 -> 1\n"
        "  seed 0 -> 1\n"
        "use --study NAME for a new study."
    )
    assert refusal(filled(path), other) == expected
    assert refusal(path, other, update_space=True) == expected


@pytest.mark.parametrize("field", ["metric", "sampler", "pruner"])
def test_another_way_to_search_is_refused(path: Path, field: str) -> None:
    other = replace(DEFINITION, **{field: "other"})
    assert refusal(filled(path), other) == (
        f"this search differs from study 'churn': {field} {getattr(DEFINITION, field)} -> other; "
        "use --study NAME for a new study."
    )


def test_another_training_is_refused(path: Path) -> None:
    training = {**DEFINITION.training, "patience": 5}
    assert "patience 20 -> 5; use --study NAME" in refusal(
        filled(path), replace(DEFINITION, training=training), update_space=True
    )


def spaced(**ranges: str) -> Definition:
    return replace(DEFINITION, space=SPACE | ranges)


def test_how_a_search_begins_may_change_with_the_space(path: Path) -> None:
    training = {**DEFINITION.training, "first": 8}
    wider = spaced(epochs="3:30")
    open_writer(filled(path), "churn", replace(wider, training=training), update_space=True).close()
    assert read(path, "churn").definition.first == 8


def test_another_space_is_refused_with_the_flag_that_accepts_it(path: Path) -> None:
    assert refusal(filled(path), spaced(lr="1e-5:1e-1:log")) == (
        "the search space differs from study 'churn': lr 1e-4:3e-2:log -> 1e-5:1e-1:log; add "
        "--update-space to go on where old trials stay valid, or --study NAME for a new study."
    )


def test_an_updated_space_is_kept_with_the_one_before(path: Path) -> None:
    other = replace(spaced(lr="1e-5:1e-1:log"), training=DEFINITION.training | {"rungs": [1, 9]})
    with open_writer(filled(path), "churn", other, update_space=True) as writer:
        assert writer.definition == other
    assert read(path).definition == other
    open_writer(path, "churn", DEFINITION, update_space=True).close()
    with closing(sqlite3.connect(path)) as connection:
        (text,) = connection.execute("SELECT definition FROM nntune_study").fetchone()
    history = [each["space"]["lr"] for each in json.loads(text)["history"]]
    assert history == ["1e-4:3e-2:log", "1e-5:1e-1:log"]


@pytest.mark.parametrize(
    ("ranges", "complaint"),
    [
        (
            {"batch_size": "32,64,128"},
            "batch_size cannot become 32,64,128 in study 'churn': trials drew it from the choices "
            "32, 64, and Optuna keeps the choices and the scale of a parameter for a whole study; "
            "use --study NAME for a new study.",
        ),
        (
            {"lr": "1e-4:3e-2"},
            "lr cannot become 1e-4:0.03 in study 'churn': trials drew it from a log range, "
            "0.0001 to 0.03, and Optuna keeps the choices and the scale of a parameter for a "
            "whole study; use --study NAME for a new study.",
        ),
        (
            {"epochs": "20:50"},
            "epochs cannot become 20:50 in study 'churn': it was fixed at 9 in its trials, which "
            "has to be a value of the new range; use --study NAME for a new study.",
        ),
    ],
)
def test_a_space_that_old_trials_do_not_fit_is_refused(
    path: Path, ranges: dict[str, str], complaint: str
) -> None:
    assert refusal(filled(path), spaced(**ranges), update_space=True) == complaint


@pytest.mark.parametrize("sampler", ["tpe", "multivariate", "qmc"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_samples_whatever_update_space_accepts(path: Path, sampler: str) -> None:
    from nntune.space import build

    ranges = {"lr": "1e-5:1e-2:log", "hidden_layers": "2:6", "l2": "1e-6:1:log", "epochs": "3:30"}
    ranges["batch_size"] = "64"
    other = spaced(**ranges)
    open_writer(filled(path), "churn", other, update_space=True).close()
    study = by_optuna(path)
    study.sampler = {
        "tpe": optuna.samplers.TPESampler(n_startup_trials=1, multivariate=False, seed=0),
        "multivariate": optuna.samplers.TPESampler(n_startup_trials=1, multivariate=True, seed=0),
        "qmc": optuna.samplers.QMCSampler(seed=0, warn_independent_sampling=False),
    }[sampler]
    params = build(other.space).suggest(study.ask())
    assert 3 <= params["epochs"] <= 30
    assert params["batch_size"] == 64


OWN = {"l2": "0,1e-6:1e-1:log", "batch_size": "32,64", "epochs": "9", "lr": "1e-4:3e-2:log"}


def of_own(model: str, **ranges: str) -> Definition:
    """As DEFINITION, but that a network of the user's own may be drawn; of a table."""
    mlp = {"hidden_layers": "1:4", "activation": "relu,tanh"} if model != "net.py:Net" else {}
    own = {f"net.{name}": text for name, text in ranges.items()}
    return replace(DEFINITION, space={"model": model, **mlp, **OWN, **own})


def test_old_trials_of_a_table_are_perceptrons_where_another_network_joins(path: Path) -> None:
    other = of_own("mlp,net.py:Net", width="4:16")
    open_writer(filled(path), "churn", other, update_space=True).close()
    assert {trial.params["model"] for trial in read(path).trials()} == {"mlp"}
    assert {read(path).space.params(t.params)["model"] for t in read(path).trials()} == {"mlp"}
    open_writer(path, "churn", DEFINITION, update_space=True).close()  # and leaves again
    configurations = [read(path).space.params(trial.params) for trial in read(path).trials()]
    assert {frozenset(each) for each in configurations} == {frozenset(SPACE)}


@pytest.mark.parametrize(
    ("first", "then", "complaint"),
    [
        (
            DEFINITION,
            of_own("net.py:Net"),
            "model cannot become net.py:Net in study 'churn': it was fixed at mlp in its trials, "
            "which has to be a value of the new range; use --study NAME for a new study.",
        ),
        (
            of_own("net.py:Net"),
            of_own("net.py:Net", width="4:16"),
            "--set width=4:16: trials of study 'churn' have no value of it; leave it out, or use "
            "--study NAME for a new study.",
        ),
        (
            of_own("net.py:Net", width="4"),
            of_own("net.py:Net"),
            "trials of study 'churn' have net.width, which is not in the space any more; --set "
            "width=4 keeps it, or use --study NAME for a new study.",
        ),
    ],
)
def test_trials_keep_a_whole_configuration_of_their_network(
    path: Path, first: Definition, then: Definition, complaint: str
) -> None:
    assert refusal(filled(path, definition=first), then, update_space=True) == complaint


def test_a_fixed_value_is_written_into_old_trials_when_it_becomes_a_range(path: Path) -> None:
    open_writer(filled(path), "churn", spaced(epochs="3:30"), update_space=True).close()
    assert {trial.params["epochs"] for trial in read(path).trials()} == {9}
    assert {trial.params["epochs"] for trial in by_optuna(path).trials} == {9}


def test_choices_come_back_after_they_were_fixed(path: Path) -> None:
    filled(path)
    with open_writer(path, "churn", spaced(batch_size="64"), update_space=True) as writer:
        params = {key: value for key, value in configuration(5).items() if key != "batch_size"}
        writer.begin(1, [(5, params, DISTRIBUTIONS)])
    assert "trials drew it from the choices 32, 64" in refusal(
        path, spaced(batch_size="32,64,128"), update_space=True
    )
    open_writer(path, "churn", DEFINITION, update_space=True).close()
    assert [read(path).trial(n).params["batch_size"] for n in (0, 1, 5)] == [32, 64, 64]


def test_fresh_starts_beside_the_old_study(path: Path) -> None:
    filled(path)
    names = []
    for _ in range(2):
        with open_writer(path, "churn", spaced(lr="0.1"), fresh=True) as writer:
            names.append(writer.name)
            assert writer.trials() == []
    assert names == ["churn-2", "churn-3"]
    assert len(read(path, "churn").trials()) == 5


def test_fresh_takes_no_name_that_a_file_beside_has(path: Path) -> None:
    for place, name in ((path, "churn"), (path.with_name("other.db"), "churn-2")):
        open_writer(place, name, DEFINITION).close()
    path.with_name("text.db").write_text("no database")
    with open_writer(path, "churn", DEFINITION, fresh=True) as writer:
        assert writer.name == "churn-3"


def test_fresh_keeps_the_name_where_there_is_nothing_yet(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION, fresh=True) as writer:
        assert writer.name == "churn"


def test_studies_of_others_stay_beside_ours(path: Path) -> None:
    path.parent.mkdir()
    optuna.create_study(study_name="theirs", storage=f"sqlite:///{path}").add_trial(
        optuna.trial.create_trial(value=0.0)
    )
    open_writer(filled(path), "churn", DEFINITION).close()
    assert by_optuna(path, "theirs").best_value == 0.0
    assert [summary.name for summary in studies(path)] == ["churn"]
    assert sentence(NotFoundError, path, "theirs") == (
        f"study 'theirs' in {path} was not made by nntune."
    )
    with pytest.raises(RefusedError, match="has a study 'theirs' that nntune did not make"):
        open_writer(path, "theirs", DEFINITION)


def test_an_empty_file_becomes_a_study(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert sentence(NotFoundError, path) == f"{path} is empty; there is no study in it."
    assert len(read(filled(path)).trials()) == 5


# What cannot be used


def something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title)")


def another_head(path: Path) -> None:
    with closing(sqlite3.connect(filled(path))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
        connection.commit()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(filled(path))) as connection:
        connection.execute("UPDATE nntune_study SET schema = 2")
        connection.commit()


def damaged(path: Path) -> None:
    content = bytearray(filled(path).read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: path.write_text("a,b\n1,2\n" * 9), "is no database of studies; it is not an"),
        (lambda path: path.mkdir(), "is a folder; name the file of a study in it."),
        (something_else, "is an SQLite database of something else; it has no studies."),
        (another_head, "has Optuna's schema v9.0.0.a; this nntune knows v3.2.0.a: run `optuna"),
        (newer, "was written by a newer nntune (schema 2; this one reads up to 1); upgrade"),
        (damaged, "cannot be read: "),
    ],
)
def test_a_file_that_is_no_study_is_refused_and_left_alone(
    path: Path, make: "type[object]", complaint: str
) -> None:
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    assert complaint in sentence(DatabaseError, path)
    with pytest.raises(DatabaseError) as caught:
        open_writer(path, "churn", DEFINITION, fresh=True)
    assert complaint in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert list(path.parent.iterdir()) == [path]


def test_the_log_of_a_deleted_study_does_not_come_back(path: Path) -> None:
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 0, 3)
        log = path.with_name(f"{path.name}-wal")
        left = log.read_bytes()
    path.unlink()
    log.write_bytes(left)

    with open_writer(path, "churn", DEFINITION) as writer:
        assert writer.trials() == []


@posix
def test_a_study_has_one_writer_by_whatever_name(path: Path) -> None:
    other = path.with_name("other.db")
    with open_writer(path, "churn", DEFINITION):
        other.symlink_to(path)
        with pytest.raises(DatabaseError, match=r"other\.db is in use by another nntune search"):
            open_writer(other, "churn", DEFINITION)


@posix
def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    assert sentence(DatabaseError, long).endswith(
        f"cannot be read: {os.strerror(errno.ENAMETOOLONG)}."
    )
    with pytest.raises(DatabaseError, match="cannot be"):
        open_writer(long, "churn", DEFINITION)


def test_a_missing_file_is_named_with_the_one_that_was_meant(path: Path) -> None:
    wrong = filled(path).with_name("chrn.db")
    assert sentence(NotFoundError, wrong) == f"there is no file {wrong}. Did you mean 'churn.db'?"
    with pytest.raises(NotFoundError, match="there is no file"):
        studies(path.parent / "none")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r"the folder .*file cannot be made"):
        open_writer(tmp_path / "file" / "churn.db", "churn", DEFINITION)


@posix
def test_a_read_only_folder_is_read_and_not_written() -> None:
    with unprivileged() as folder:
        path = filled(folder / "churn.db")
        path.chmod(0o444)
        folder.chmod(0o555)
        assert read(path).best().number == 1
        for name in ("churn.db", "new.db"):
            with pytest.raises(DatabaseError, match=f"{name} cannot be written: Permission denied"):
                open_writer(folder / name, "churn", DEFINITION)
        assert list(folder.iterdir()) == [path]
        folder.chmod(0o755)


@posix
def test_a_crashed_study_in_a_read_only_folder_is_read_whole() -> None:
    with unprivileged() as folder:
        path = folder / "churn.db"
        with open_writer(path, "churn", DEFINITION) as writer:
            begin(writer, 0, 3)
            copies = {each.name: each.read_bytes() for each in folder.iterdir()}
        crashed = folder / "crashed"
        crashed.mkdir()
        for name in ("churn.db", "churn.db-wal"):
            (crashed / name).write_bytes(copies[name])
        crashed.chmod(0o555)
        assert len(read(crashed / "churn.db").trials()) == 3
        crashed.chmod(0o755)


@posix
def test_a_file_without_permission_is_named() -> None:
    with unprivileged() as folder:
        path = filled(folder / "churn.db")
        path.chmod(0)
        assert sentence(DatabaseError, path) == f"{path} cannot be read: Permission denied."
        path.chmod(0o444)
        with pytest.raises(DatabaseError, match="cannot be written: attempt to write a readonly"):
            open_writer(path, "churn", DEFINITION)


def test_the_tables_are_those_that_the_installed_optuna_makes(tmp_path: Path) -> None:
    made = []
    open_writer(tmp_path / "ours.db", "s", DEFINITION).close()
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'theirs.db'}", study_name="s")
    for path in (tmp_path / "ours.db", tmp_path / "theirs.db"):
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'nntune%' ORDER BY name"
            ).fetchall()
            made.append({name: "".join((sql or "").split()) for name, sql in tables})
            for table in ("alembic_version", "version_info"):
                made[-1][table] += str(connection.execute(f"SELECT * FROM {table}").fetchall())
    ours, theirs = made
    assert {name: sql for name, sql in ours.items() if name in theirs} == theirs


def test_reading_a_study_leaves_its_writer_the_locks(tmp_path: Path) -> None:
    """A program that is the last to close a file takes its log away, as far as locks tell it."""
    path = tmp_path / "a.db"
    other = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM trials").fetchall()
connection.close()
"""
    with open_writer(path, "a", DEFINITION) as writer:
        begin(writer, 0, 1)
        read(path, "a").trials()
        subprocess.run([sys.executable, "-c", other, str(path)], check=True)
        assert path.with_name("a.db-wal").exists()
        begin(writer, 1, 1, bracket=1)
    assert len(read(path, "a").trials()) == 2


@pytest.mark.parametrize("key", list(DEFINITION.training))
def test_a_definition_with_a_flipped_bit_in_a_key_is_a_sentence(path: Path, key: str) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        change = "UPDATE nntune_study SET definition = replace(definition, ?, ?)"
        connection.execute(change, (f'"{key}"', f'"{chr(ord(key[0]) ^ 1)}{key[1:]}"'))
        connection.commit()
    assert f"the training of a definition has no {key}" in sentence(DatabaseError, path)
    assert f"no {key}" in refusal_of_damage(path)


def refusal_of_damage(path: Path) -> str:
    with pytest.raises(DatabaseError) as caught:
        open_writer(path, "churn", DEFINITION)
    return str(caught.value)


@pytest.mark.parametrize("first", ["8", 8.0, None])
def test_a_first_bracket_that_is_no_number_is_refused(first: object) -> None:
    text = replace(DEFINITION, training={**DEFINITION.training, "first": first}).to_json()
    with pytest.raises(ValueError, match="the first bracket of a definition is no number"):
        Definition.from_json(text)
