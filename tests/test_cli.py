"""Every command whole: what stands on standard output, what on standard error, the exit code."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import made_studies
import pytest
import typer

from nntune import __version__, study
from nntune.cli import app, main
from nntune.costs import seconds
from nntune.errors import DatabaseError, OutputError, UsageError
from nntune.report.winner import _OF_THE_DATA
from nntune.space import Space, build
from nntune.study import Definition, Outcome

PENGUINS = Path(__file__).parent / "data" / "penguins.csv"
NNTUNE = [sys.executable, "-m", "nntune"]
SHORT = ["--trials", "4", "--epochs", "2", "--workers", "1"]
Command = Callable[..., tuple[int, str, str]]

SPACE = build(
    {"hidden_layers": "1:3", "units": "16,64", "dropout": "0", "l2": "0", "batch_size": "32",
     "epochs": "9", "lr": "1e-4:1e-1:log"}
)  # fmt: skip
DRAWN = [(2, 64, 1e-3), (3, 16, 0.1), (1, 16, 0.02), (2, 16, 0.09), (1, 64, 0.005)]
OUTCOMES = [
    Outcome(0, "complete", 0.5, 0.5, 9, {9: 0.5}, {9: 0.5}, "epochs", 1.5, [0.9] * 8 + [0.5]),
    Outcome(1, "complete", 0.25, 0.25, 2, {9: 0.25}, {9: 0.25}, "epochs", 1.25,
            [1.0, 0.25, 0.5, 0.75, float("nan"), 0.75, 0.75, 0.75, 0.75]),
    Outcome(2, "pruned", 0.75, 0.75, 1, {1: 0.75}, {1: 0.75}, "rung 1", 0.5, [0.75]),
    Outcome(3, "failed", None, None, None, {}, {}, "diverged at epoch 1", 0.1, []),
]  # fmt: skip
SAID = "nntune search 'a b.csv' -t '[/x]' --seed 5 --study made --lr 1e-4:1e-1:log"


def make_study(path: Path, space: Space = SPACE) -> None:
    """A study of five trials, one of them unfinished; its target is named like markup."""
    definition = Definition(
        data={"source": "a b.csv", "target": "[/x]", "task": "binary", "counts": {"valid": 1234}},
        space={each.name: each.text for each in space.hyperparameters},
        metric="log_loss",
        direction="minimize",
        seed=5,
        sampler="tpe",
        pruner="halving",
        training={"width": 32, "eta": 3, "rungs": [1, 3, 9], "patience": 20, "product": "torch"},
        versions={},
        command=SAID,
    )
    distributions = space.distributions()
    names = ("hidden_layers", "units", "lr")
    with study.open_writer(path, "made", definition) as writer:
        writer.begin(
            0,
            [(n, dict(zip(names, drawn, strict=True)), distributions)
             for n, drawn in enumerate(DRAWN)],
        )  # fmt: skip
        writer.report(OUTCOMES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a test."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def made(folder: Path) -> Path:
    """A working directory with one study."""
    make_study(folder / "studies" / "made.db")
    return folder


@pytest.fixture
def nntune(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command line; gives its exit code, standard output and standard error."""

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nntune", *argv])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return (end.value.code, *capsys.readouterr())

    return run


BEST = """\
study     made (studies/made.db): 4 trials, 2 complete, 1 pruned, 1 failed
target    [/x] (binary)
best      trial #1, epoch 2 of 9
log_loss  0.25 on 1,234 validation rows
          0.5 with the default configuration (#0)

hyperparameter  value                            range
hidden_layers       3  ·······················●  1:3
units              16  ●·······················  16,64
shape            flat                            fixed
dropout             0                            fixed
l1                  0                            fixed
l2                  0                            fixed
batch_size         32                            fixed
epochs              9                            fixed
lr                0.1  ·······················●  1e-4:1e-1:log
activation       relu                            fixed
optimizer        adam                            fixed

edge: hidden_layers 3 lies at the high end of 1:3; --hidden-layers 1:5 looks further, with --update-space.
edge: lr 0.1 lies at the high end of 1e-4:1e-1:log; --lr 1e-4:1:log looks further, with --update-space.
overfitting: after epoch 2 trial #1 gets worse, log_loss 0.25 to 0.75 at epoch 8; --l2 1e-5:1e-1:log --dropout 0.1:0.7 holds it back.
This is the best of 3 noisy values, so a new sample will score worse; nntune confirm says how much.
1 trial is unfinished; the search's command goes on with it.
this configuration trained anew, from other initial weights:
  nntune search 'a b.csv' -t '[/x]' --seed 5 --study made-1 --trials 1 --hidden-layers 3 --units 16 \
--shape flat --dropout 0.0 --l1 0.0 --l2 0.0 --batch-size 32 --epochs 9 --lr 0.1 --activation relu \
--optimizer adam --bins 0
"""  # noqa: E501


def test_best_shows_the_winner_in_its_ranges(made: Path, nntune: Command) -> None:
    assert nntune("best") == (0, BEST, "")
    assert nntune("best", "made") == (0, BEST, "")
    assert nntune("best", "studies/made.db") == (0, BEST, "")
    assert nntune("best", "--db", "studies/made.db", "made") == (0, BEST, "")


def test_below_a_confirmed_value_the_default_has_its_own_of_the_search(
    folder: Path, nntune: Command
) -> None:
    view = made_studies.make(folder / "made.db")
    made_studies.add_verdict(view, "confirmation", made_studies.confirmation(view))
    value = f"{view.trial(0).value:.4g} in the search with the default configuration (#0)"
    lines = nntune("best", "--db", "made.db")[1].splitlines()
    assert lines[5].strip() == value


def test_best_as_json_holds_what_a_script_needs(made: Path, nntune: Command) -> None:
    code, output, messages = nntune("best", "--json")
    assert (code, messages) == (0, "")
    repeat = BEST.splitlines()[-1].strip()
    values = json.loads(output)
    found = values.pop("findings")
    assert [each["name"] for each in found] == ["edge", "edge", "overfitting"]
    assert found[0]["flag"] == "--hidden-layers 1:5"
    assert values == {
        "schema": "nntune.best/1",
        "study": "made",
        "db": "studies/made.db",
        "metric": "log_loss",
        "direction": "minimize",
        "trial": 1,
        "state": "complete",
        "value": 0.25,
        "epoch": 2,
        "reason": "epochs",
        "params": {
            "hidden_layers": 3, "units": 16, "shape": "flat", "dropout": 0.0, "l1": 0.0,
            "l2": 0.0, "batch_size": 32, "epochs": 9, "lr": 0.1, "activation": "relu",
            "optimizer": "adam",
        },
        "trials": {"running": 1, "complete": 2, "pruned": 1, "failed": 1},
        "stopped": "",
        "seed": 5,
        "confirmed": None,
        "edges": {"hidden_layers": "high", "lr": "high"},
        "command": SAID,
        "repeat": repeat,
    }  # fmt: skip


def test_trials_lists_the_best_first(made: Path, nntune: Command) -> None:
    table = """\
#  state     log_loss  epoch  hidden_layers  units     lr  why
1  complete      0.25      2              3     16    0.1  epochs
0  complete       0.5      9              2     64  0.001  epochs
2  pruned        0.75      1              1     16   0.02  rung 1
3  failed           -      -              2     16   0.09  diverged at epoch 1
4  running          -      -              1     64  0.005
"""
    lines = table.splitlines(keepends=True)
    assert nntune("trials") == (0, table, "")
    top = nntune("trials", "made", "--top", "3")
    assert top == (0, "".join(lines[:4]), "")
    code, output, _ = nntune("trials", "--state", "failed")
    assert output.splitlines()[1].split() == lines[4].split()
    assert code == 0


def test_a_long_list_of_trials_says_what_it_leaves_out(made: Path, nntune: Command) -> None:
    with study.open_existing(made / "studies" / "made.db", "made") as writer:
        drawn = dict(zip(("hidden_layers", "units", "lr"), DRAWN[0], strict=True))
        distributions = SPACE.distributions()
        writer.begin(1, [(number, drawn, distributions) for number in range(5, 107)])

    lines = nntune("trials")[1].splitlines()
    assert len(lines) == 102
    assert lines[-1] == "7 more; --top 107 lists all"
    running = nntune("trials", "--state", "running")[1].splitlines()
    assert running[-1] == "3 more; --top 103 lists all"
    assert len(nntune("trials", "--top", "107")[1].splitlines()) == 108
    assert len(json.loads(nntune("trials", "--json")[1])["trials"]) == 107


def test_trials_as_json_are_the_rows_of_the_table(made: Path, nntune: Command) -> None:
    code, output, messages = nntune("trials", "--json", "--state", "pruned")
    found = json.loads(output)
    (row,) = found.pop("trials")
    assert (code, messages) == (0, "")
    assert found == {
        "schema": "nntune.trials/1",
        "study": "made",
        "metric": "log_loss",
        "direction": "minimize",
    }
    assert row.pop("params")["units"] == 16
    assert row == {"trial": 2, "state": "pruned", "value": 0.75, "epoch": 1, "reason": "rung 1"}


def test_show_draws_one_trial_whole(made: Path, nntune: Command) -> None:
    code, output, messages = nntune("show", "1")
    assert (code, messages) == (0, "")
    facts, table, curve = output.split("\n\n")
    assert facts == (
        "trial     #1 of made, complete: epochs\n"
        "log_loss  0.25 at epoch 2\n"
        "bracket   1\n"
        "training  1.25 s of processor time"
    )
    assert table == BEST.split("\n\n")[1]
    assert curve == "log_loss after each of 9 epochs\n1 █▁▃▅x▅▅▅▅ 0.75\n"


def test_show_of_a_trial_without_a_curve_has_none(made: Path, nntune: Command) -> None:
    code, output, _ = nntune("show", "4")
    assert code == 0
    assert output.startswith("trial     #4 of made, running\nlog_loss  - at epoch -\n")
    assert "after each" not in output


def test_show_as_json_has_no_number_that_json_lacks(made: Path, nntune: Command) -> None:
    code, output, _ = nntune("show", "1", "--json")
    found = json.loads(output)
    assert (code, found["schema"], found["trial"]) == (0, "nntune.trial/1", 1)
    assert found["curve"] == [1.0, 0.25, 0.5, 0.75, None, 0.75, 0.75, 0.75, 0.75]
    assert found["rungs"] == {"9": 0.25}


def test_studies_lists_what_there_is(made: Path, nntune: Command) -> None:
    make_study(made / "studies" / "more.db")
    code, output, messages = nntune("studies")
    assert (code, messages) == (0, "")
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN" + " " * 15, output) == (
        "study  trials  metric    best  changed              file\n"
        "made        5  log_loss  0.25  WHEN                 studies/made.db\n"
        "made        5  log_loss  0.25  WHEN                 studies/more.db\n"
    )
    rows = json.loads(nntune("studies", "--json")[1])
    assert rows["schema"] == "nntune.studies/1"
    assert [(row["name"], row["path"], row["best"]) for row in rows["studies"]] == [
        ("made", "studies/made.db", 0.25),
        ("made", "studies/more.db", 0.25),
    ]


def test_a_folder_without_studies_says_what_makes_one(folder: Path, nntune: Command) -> None:
    code, output, messages = nntune("studies")
    assert (code, messages) == (0, "")
    assert "nntune search makes one." in output
    assert json.loads(nntune("studies", "--json")[1])["studies"] == []


def test_data_shows_what_is_understood_and_trains_nothing(folder: Path, nntune: Command) -> None:
    code, output, messages = nntune("data", str(PENGUINS), "-t", "species")
    assert (code, messages) == (0, "")
    assert output.startswith("task      multiclass, target species\n")
    found = json.loads(nntune("data", str(PENGUINS), "-t", "species", "--json")[1])
    assert (found["schema"], found["task"]) == ("nntune.data/1", "multiclass")
    assert found["classes"] == {"Adelie": 152, "Chinstrap": 68, "Gentoo": 124}
    assert list(folder.iterdir()) == []


def test_a_space_that_is_printed_is_read_back(folder: Path, nntune: Command) -> None:
    code, output, messages = nntune("space", "--units", "8:64:log", "--activation", "relu,gelu")
    assert (code, messages) == (0, "")
    assert tomllib.loads(output)["units"] == "8:64:log"
    (folder / "space.toml").write_text(output)
    assert nntune("space", "--space", "space.toml") == (0, output, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_space_may_come_through_a_pipe(folder: Path, nntune: Command) -> None:
    os.mkfifo(folder / "pipe")
    writer = Thread(target=(folder / "pipe").write_text, args=("units = 8\nbins = 0\n",))
    writer.start()
    code, _, _ = nntune("search", str(PENGUINS), "-t", "species", *SHORT, "--space", "pipe")
    writer.join()
    assert code == 0
    space = study.read(study.default_path("penguins")).definition.space
    assert space["units"] == "8"
    assert "bins" not in space


def test_a_search_writes_results_to_one_stream_and_notices_to_the_other(
    folder: Path, nntune: Command
) -> None:
    code, output, messages = nntune("search", str(PENGUINS), "-t", "species", *SHORT)
    assert code == 0
    assert output.startswith("study     penguins (studies/penguins.db): 4 trials")
    first, second, third, last = messages.splitlines()
    assert last == "stopped: all 4 trials are done"
    assert first.startswith("penguins: 15 features and 66 bins of numbers, target species (multi")
    assert second == "study penguins in studies/penguins.db: new"
    assert third.startswith("bracket 1: 4 of 4 trials")
    assert [path.name for path in (folder / "studies").iterdir()] == ["penguins.db"]
    assert nntune("best") == (0, output, "")


def test_a_quiet_search_says_nothing_but_its_result(folder: Path, nntune: Command) -> None:
    words = ["search", str(PENGUINS), "-t", "species", *SHORT, "--quiet", "--json"]
    code, output, messages = nntune(*words)
    assert (code, messages) == (0, "")
    found = json.loads(output)
    assert found["command"] == shlex.join(["nntune", *words])
    assert found["trials"]["running"] == 0
    assert json.loads(nntune("best", "--json")[1]) == found


def test_a_search_on_the_command_line_has_a_queue_and_stops(folder: Path, nntune: Command) -> None:
    words = ["search", str(PENGUINS), "-t", "species", *SHORT]
    assert nntune(*words, "--quiet")[0] == 0
    more = ["--study", "more", "--enqueue", "lr=0.01,dropout=0.3", "--warm-start", "penguins"]
    code, _, messages = nntune(*words, *more, "--until", "9", "--patience-trials", "2")
    assert (code, messages.split(", and ")[1]) == (0, "--until 9 is reached\n")
    params = json.loads(nntune("show", "1", "more", "--json")[1])["params"]
    assert (params["lr"], params["dropout"]) == (0.01, 0.3)


def test_the_command_that_repeats_a_configuration_runs(folder: Path, nntune: Command) -> None:
    flags = ["--ignore", "year", "--seed=3", "--metric", "accuracy"]
    words = ["search", str(PENGUINS), "-t", "species", *SHORT, *flags, "--quiet", "--json"]
    found = json.loads(nntune(*words)[1])
    code, output, _ = nntune(*shlex.split(found["repeat"])[1:], "--quiet", "--json")
    again = json.loads(output)
    assert code == 0
    assert (again["params"], again["seed"], again["metric"]) == (found["params"], 3, "accuracy")
    views = [study.read(folder / each["db"]) for each in (found, again)]
    assert len({view.definition.data["fingerprint"] for view in views}) == 1


def test_the_command_that_repeats_a_configuration_keeps_what_is_said_of_the_data(
    folder: Path, nntune: Command
) -> None:
    asked = typer.main.get_command(app).commands["data"].params  # type: ignore[attr-defined]
    flags = {flag for each in asked for flag in each.opts if flag.startswith("-")}
    assert flags - set(_OF_THE_DATA) == {"--series", "--json"}

    table = folder / "said.csv"
    table.write_text(
        "\n".join(["says,y", *(f"word{i % 7} and so on {i},{i % 2}" for i in range(60))])
    )
    words = [
        "search",
        str(table),
        "-t",
        "y",
        "--text",
        "says",
        "--ngrams",
        "1",
        "--vocabulary",
        "9",
    ]
    found = json.loads(nntune(*words, *SHORT, "--quiet", "--json")[1])
    assert "--text says --ngrams 1 --vocabulary 9" in found["repeat"]


def test_another_space_needs_a_flag(folder: Path, nntune: Command) -> None:
    words = ["search", str(PENGUINS), "-t", "species", *SHORT, "--quiet"]
    assert nntune(*words)[0] == 0
    wider = [*words, "--lr", "1e-4:1e-1:log"]
    assert nntune(*wider) == (
        7,
        "",
        "nntune: the search space differs from study 'penguins': lr 3e-4:3e-2:log -> "
        "1e-4:1e-1:log; add --update-space to go on where old trials stay valid, or "
        "--study NAME for a new study.\n",
    )
    assert nntune(*wider, "--update-space", "--trials", "6")[0] == 0
    assert len(study.read(Path("studies/penguins.db")).trials()) == 6
    code, output, _ = nntune(*words, "--fresh")
    assert code == 0
    assert output.startswith("study     penguins-2 (studies/penguins.db): 4 trials")


def test_a_fresh_study_is_gone_on_with_by_its_name(folder: Path, nntune: Command) -> None:
    words = ["search", str(PENGUINS), "-t", "species", *SHORT, "--quiet"]
    for fresh in ([], ["--fresh"]):
        assert nntune(*words, *fresh)[0] == 0
    code, output, _ = nntune(*words, "--study", "penguins-2", "--trials", "5")
    assert code == 0
    assert output.startswith("study     penguins-2 (studies/penguins.db): 5 trials")
    assert [path.name for path in (folder / "studies").iterdir()] == ["penguins.db"]


@pytest.mark.parametrize("line", ["best made", "best", "search a.csv --study made"])
def test_a_name_in_several_files_is_refused(made: Path, nntune: Command, line: str) -> None:
    make_study(made / "studies" / "more.db")
    assert nntune(*line.split()) == (
        2,
        "",
        "nntune: there is a study 'made' in studies/made.db and studies/more.db; "
        "--db FILE says which.\n",
    )
    assert nntune("best", "made", "--db", "studies/made.db") == (0, BEST, "")


def test_a_hyperparameter_that_had_a_range_keeps_its_column(folder: Path, nntune: Command) -> None:
    words = ["search", str(PENGUINS), "-t", "species", *SHORT, "--quiet"]
    assert nntune(*words)[0] == 0
    assert nntune(*words, "--lr", "1e-3", "--update-space", "--trials", "6")[0] == 0
    heading = nntune("trials")[1].splitlines()[0]
    assert "lr" in heading.split()
    assert "epochs" not in heading.split()
    ranges = {
        line.split()[0]: line.split()[-1] for line in nntune("show", "1")[1].splitlines() if line
    }
    assert (ranges["lr"], ranges["epochs"]) == ("0.001", "fixed")


def test_a_search_in_which_everything_fails_ends_with_6(folder: Path, nntune: Command) -> None:
    lines = "".join(f"{i * 0.7 % 5:.2f},{i * 1.3 % 7:.2f}\n" for i in range(80))
    (folder / "a.csv").write_text("x,y\n" + lines)
    words = ["search", "a.csv", "-t", "y", *SHORT, "--lr", "1000", "--optimizer", "sgd", "-q"]
    assert nntune(*words) == (
        6,
        "",
        "nntune: all 4 trials failed (diverged at epoch 1); lower --lr or scale the data.\n",
    )


def test_a_table_is_read_from_standard_input(folder: Path) -> None:
    words = [*NNTUNE, "search", "-", "-t", "species", *SHORT, "--quiet", "--json"]
    run = subprocess.run(words, input=PENGUINS.read_bytes(), capture_output=True, check=True)
    found = json.loads(run.stdout)
    assert (run.stderr, found["study"], found["db"]) == (b"", "stdin", "studies/stdin.db")


def test_help_and_version(folder: Path, nntune: Command) -> None:
    code, output, messages = nntune("--help")
    assert (code, messages) == (0, "")
    for name in ("search", "best", "trials", "show", "studies", "data", "space"):
        assert re.search(rf"^│ {name} +[A-Z]", output, re.MULTILINE)
    assert nntune("-h") == (0, output, "")
    assert nntune("--version") == (0, f"nntune {__version__}\n", "")
    assert nntune()[0] == 2  # without a command: the help, and a usage error


@pytest.mark.parametrize("line", ["--help", "search --help", "best", "trials", "show 1", "studies"])
def test_questions_load_no_heavy_library(made: Path, line: str) -> None:
    code = (
        "import sys\n"
        "from nntune.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'optuna', 'sklearn', 'pandas', 'duckdb', 'scipy', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_a_reader_that_leaves_early_hears_no_complaint(made: Path) -> None:
    with subprocess.Popen(
        [*NNTUNE, "trials"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="its pipes break otherwise")
def test_messages_that_no_one_reads_end_no_command(folder: Path) -> None:
    search = ["search", str(PENGUINS), "-t", "species", *SHORT]
    reader, writer = os.pipe()
    os.close(reader)
    for words, code, begins in (
        (search, 0, b"study     penguins"),
        (["refit", "penguins", "--full"], 0, b"penguins.nnt: trial #"),
        (["best", "absent"], 4, b""),
    ):
        run = subprocess.run([*NNTUNE, *words], stdout=subprocess.PIPE, stderr=writer, check=False)
        assert (run.returncode, run.stdout[: len(begins)]) == (code, begins)
    os.close(writer)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /dev/full")
@pytest.mark.parametrize(
    "line", ["best", "best --json", "space", "export studies/made.db --format toml -o new.toml"]
)
def test_standard_output_that_is_full_is_told(made: Path, line: str) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [*NNTUNE, *line.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert run.returncode == OutputError.exit_code
    assert run.stderr == b"nntune: standard output cannot be written: No space left on device.\n"


def test_a_damaged_study_is_not_said_to_be_missing(made: Path, nntune: Command) -> None:
    with Path("studies/cut.db").open("wb") as file:
        file.write(Path("studies/made.db").read_bytes()[:20000])

    code, _, err = nntune("best", "cut")
    assert code == DatabaseError.exit_code
    assert "studies/cut.db" in err.replace("\\", "/")
    code, out, err = nntune("studies")
    assert code == 0
    assert "made" in out
    assert err.startswith("note: left out: ")
    assert "cut.db" in err


@pytest.mark.skipif(sys.platform == "win32", reason="a shell there cannot close streams")
@pytest.mark.parametrize(
    ("line", "code"),
    [("best >&-", 0), ("best --json >&-", 0), ("space >&-", 0), ("best absent 2>&-", 4),
     ("data - <&- >&- 2>&-", 3)],
)  # fmt: skip
def test_a_closed_stream_is_no_error(made: Path, line: str, code: int) -> None:
    words = f"{shlex.join(NNTUNE)} {line}"
    run = subprocess.run(words, shell=True, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (code, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell there cannot close streams")
def test_a_search_without_standard_output_is_kept(folder: Path) -> None:
    words = [*NNTUNE, "search", str(PENGUINS), "-t", "species", *SHORT, "--quiet"]
    run = subprocess.run(f"{shlex.join(words)} >&-", shell=True, capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert len(study.read(Path("studies/penguins.db")).trials(state="complete")) > 0


def test_a_terminal_of_few_characters_gets_what_it_can_show(made: Path) -> None:
    run = subprocess.run(
        [*NNTUNE, "best"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.decode("ascii") == BEST.replace("·", "?").replace("●", "?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800), ("0.5", 0.5)],
)
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds("--time", text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "h", "1w", "1h30m", "nan", "inf", "1e12", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    what = "a duration is above 0" if text in ("0", "-1") else "say how long"
    with pytest.raises(UsageError, match=f"{what}, such as 90s"):
        seconds("--time", text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nntune best ", ["made"]),
        ("nntune trials m", ["made"]),
        ("nntune best x", []),
        (f"nntune search {PENGUINS} -t s", ["species", "sex"]),
        (f"nntune data {PENGUINS} --target bill", ["bill_length_mm", "bill_depth_mm"]),
        ("nntune search missing.csv -t s", []),
        ("nntune stu", ["studies"]),
    ],
)
def test_the_shell_completes_studies_and_columns(
    made: Path, nntune: Command, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    monkeypatch.setenv("_NNTUNE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    code, output, messages = nntune()
    assert (code, output.split(), messages) == (0, words, "")


@pytest.mark.parametrize(
    ("flags", "is_early"),
    [([], True), (["--workers", "2"], True), (["--workers", "0"], False),
     (["--dask", "tcp://127.0.0.1:1"], False)],
)  # fmt: skip
def test_what_workers_fork_from_starts_before_heavy_imports(
    tmp_path: Path, flags: list[str], is_early: bool
) -> None:
    code = (
        "import sys, nntune.ahead\n"
        "def prepare():\n"
        '    sys.exit(f\'heavy: {sorted({"numpy", "duckdb", "torch"} & set(sys.modules))}\')\n'
        "nntune.ahead.prepare = prepare\n"
        "from nntune.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    words = [sys.executable, "-c", code, "search", "absent.csv", *flags]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert (told.stderr == "heavy: []\n") == is_early
