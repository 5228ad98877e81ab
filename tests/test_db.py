"""`nntune db`: what is wrong with a study's file is found, and mended behind a backup."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_study import DEFINITION, begin, filled, outcome

from nntune.cli import main
from nntune.errors import DatabaseError
from nntune.study import open_writer, read
from nntune.study.checking import check
from nntune.study.repair import backed_up, repair, upgrade


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return filled(tmp_path / "churn.db")


def spoil(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def sentences(path: Path) -> list[str]:
    return [problem.sentence for problem in check(path)]


def test_a_sound_file_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    assert check(path) == []
    assert repair(path) == upgrade(path) == (None, (), ())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


SPOILT = {
    "DELETE FROM trials WHERE number = 4": "1 rows of trial_params belong to nothing in trials",
    "DELETE FROM trial_values WHERE trial_id = 1": "1 trials are complete and have no value",
    "UPDATE trial_values SET value = 'high' WHERE trial_id = 1": "1 values are no numbers",
    "DELETE FROM trial_params WHERE trial_id = 2 AND param_name = 'lr'":
        "1 trials of study 'churn' have lost a part of their configuration or curve",
    "UPDATE trial_params SET distribution_json = '{' WHERE trial_id = 2":
        "1 trials of study 'churn' have lost a part of their configuration or curve",
    "DELETE FROM nntune_trial WHERE trial_id = 3":
        "1 trials lack nntune's part of what is known of them",
    "DELETE FROM trials WHERE number IN (1, 3)":
        "2 numbers of trials are missing from their study; failed ones stand in for them",
}  # fmt: skip


@pytest.mark.parametrize("statement", SPOILT)
def test_what_does_not_agree_is_found_and_mended(path: Path, statement: str) -> None:
    drop = "DROP TRIGGER nntune_trial_deleted", "DROP TRIGGER nntune_weights_deleted"
    spoil(path, *drop, statement)
    spoilt = path.read_bytes()
    found = sentences(path)
    expected = SPOILT[statement]
    assert any(line.split(" ", 1)[1] == expected.split(" ", 1)[1] for line in found)
    mended = repair(path)
    assert mended.left == ()
    assert check(path) == []
    assert mended.backup == path.with_name("churn.db.backup-1")
    assert mended.backup.read_bytes() == spoilt
    with open_writer(path, "churn", DEFINITION) as writer:  # and the study goes on
        begin(writer, len(writer.trials()), 1)
    assert read(path).trials()


def test_trials_that_are_lost_are_stood_in_for_by_failed_ones(path: Path) -> None:
    spoil(path, "DELETE FROM trials WHERE number = 2")
    repair(path)
    trial = read(path).trial(2)
    assert (trial.state, trial.reason, trial.params) == ("failed", "lost in a damaged file", {})


def test_a_number_that_no_trial_can_have_is_named(path: Path) -> None:
    """No million of failed trials stands in for what was never there."""
    spoil(path, "UPDATE trials SET number = 999999 WHERE number = 4")
    said = "1 trials have numbers that none can have"
    assert sentences(path) == [said]
    assert repair(path).left == (said,)


def test_a_definition_that_cannot_be_read_is_left(path: Path) -> None:
    spoil(path, "UPDATE nntune_study SET definition = '1'", "DELETE FROM trials WHERE number = 2")
    assert repair(path).left == ("the definition of study 'churn' cannot be read",)


def test_a_strangers_triggers_are_named(path: Path) -> None:
    spoil(path, "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END")
    assert sentences(path) == ["1 triggers or views are none of nntune's or Optuna's"]
    assert repair(path).left == ("1 triggers or views are none of nntune's or Optuna's",)


def damaged(path: Path) -> Path:
    """A large study in which pages in the middle are noise."""
    with open_writer(path, "churn", DEFINITION) as writer:
        begin(writer, 5, 300)
        writer.report([outcome(number, number / 7) for number in range(5, 305)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(size // 4, size // 2, 40960):
            file.seek(place // 4096 * 4096)
            file.write(b"\xa5" * 4096)
    return path


def test_of_damaged_pages_everything_that_can_be_read_is_kept(path: Path) -> None:
    values = {trial.number: trial.value for trial in read(path).trials()}
    damaged(path)
    assert sentences(path)[0].startswith("SQLite: ")
    with pytest.raises(DatabaseError, match="nntune db check"):
        read(path).trials()
    spoilt = path.read_bytes()
    mended = repair(path)
    assert mended.left == ()
    assert mended.backup is not None
    assert mended.backup.read_bytes() == spoilt
    view = read(path)
    assert sum(view.counts().values()) == 305
    kept = [trial for trial in view.trials() if trial.reason != "lost in a damaged file"]
    assert len(kept) > 150
    assert all(trial.value == values.get(trial.number, trial.number / 7) for trial in kept
               if trial.state == "complete")  # fmt: skip


def test_a_backup_is_never_written_over(path: Path) -> None:
    path.with_name("churn.db.backup-1-wal").write_bytes(b"mine")
    assert backed_up(path) == path.with_name("churn.db.backup-2")
    assert backed_up(path) == path.with_name("churn.db.backup-3")
    assert path.with_name("churn.db.backup-1-wal").read_bytes() == b"mine"


def test_a_file_of_an_older_version_is_brought_up_to_date(path: Path) -> None:
    spoil(path, "DROP TABLE nntune_verdict", "UPDATE nntune_study SET schema = 0")
    old = path.read_bytes()
    mended = upgrade(path)
    assert mended.done == ("table nntune_verdict made", "study 'churn' brought to 1")
    assert mended.backup is not None
    assert mended.backup.read_bytes() == old
    assert upgrade(path).backup is None


def test_tables_of_another_optuna_are_optunas_to_upgrade(path: Path) -> None:
    spoil(path, "UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    with pytest.raises(DatabaseError, match="run `optuna storage upgrade` on an older file"):
        upgrade(path)


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(str(caught.value.code or 0))


def test_the_command_prints_what_it_found_and_did(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("db", "check", str(path)) == 0
    assert capsys.readouterr().out == f"{path} is sound\n"
    spoil(path, "DELETE FROM trial_values WHERE trial_id = 1")
    assert ran("db", "check", str(path)) == 5
    assert "1 trials are complete and have no value" in capsys.readouterr().out
    assert ran("db", "repair", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "nntune.db/1",
        "file": str(path),
        "action": "repair",
        "problems": [],
        "done": ["1 trials are complete and have no value"],
        "backup": f"{path}.backup-1",
    }
    assert ran("db", "upgrade", str(path)) == 0
    assert capsys.readouterr().out == f"{path} is up to date\n"
    assert ran("db", "chek", str(path)) == 2
    assert "there are check, repair, upgrade. Did you mean 'check'?" in capsys.readouterr().err


@pytest.mark.parametrize("pages", [1, 3])
def test_a_file_that_ends_too_early_keeps_the_trials_that_are_left(path: Path, pages: int) -> None:
    rest = path.read_bytes()[: -pages * 4096]
    path.write_bytes(rest)
    assert sentences(path) == ["SQLite: database disk image is malformed"]

    mended = repair(path)

    assert mended.backup is not None
    assert mended.backup.read_bytes() == rest
    assert (mended.left, check(path)) == ((), [])
    assert [trial.number for trial in sorted(read(path).trials())] == list(range(5))


def test_a_misspelt_trigger_does_not_hide_the_trials(path: Path) -> None:
    before = read(path).trials()
    content = path.read_bytes()
    assert content.count(b"DELETE ON studies BEGIN") > 0
    path.write_bytes(content.replace(b"DELETE ON studies BEGIN", b"DELETE ON studies BDGIN"))
    (sentence,) = sentences(path)
    assert "BDGIN" in sentence

    repair(path)

    assert read(path).trials() == before


def test_where_nothing_can_be_read_the_file_stays_as_it_is(path: Path) -> None:
    rest = path.read_bytes()[:100]
    path.write_bytes(rest)
    with pytest.raises(DatabaseError, match="no study in it can be read"):
        repair(path)
    assert path.read_bytes() == rest
    assert list(path.parent.glob("*.backup-*")) == []  # it would hold the same
