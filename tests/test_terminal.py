"""What a stranger's names do to a terminal: nothing."""

import json
import re
from pathlib import Path

import pytest

from nntune.cli import main

COLUMN = "a\x1b]0;title\x07\x08"
CLASS = "c\x1b]0;t\x9b31m"
SHOWN = "c␛]0;t\ufffd31m"
OWN = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")  # what rich moves and colours with
ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study and a bundle of a table whose column and class are called so."""
    home = tmp_path_factory.mktemp("evil")
    rows = "".join(f"{i * 1.5},{i % 5},{['b', CLASS][i % 2]}\n" for i in range(80))
    (home / "made.csv").write_text(f"x,{COLUMN},y\n{rows}", encoding="utf-8")
    search = "search made.csv -t y --trials 2 --epochs 2 --workers 1 --confirm 0 -q"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for command in (search, "refit"):
            with pytest.raises(SystemExit) as end:
                main(command.split())
            assert end.value.code == 0
    return home


@pytest.mark.parametrize("force_terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(
    "command",
    ["data made.csv -t y", "data made.csv -t z", "best", "trials", "trials 0", "db check FILE",
     "evaluate made.nnt made.csv", "search made.csv -t y --trials 2 --epochs 2 --confirm 0",
     "test", "compare"],
)  # fmt: skip
def test_no_name_gives_orders_to_a_terminal(
    folder: Path,
    command: str,
    force_terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    if force_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    (file,) = Path("studies").glob("*.db")
    with pytest.raises(SystemExit):
        main(command.replace("FILE", str(file)).split())
    said = capsys.readouterr()
    written = said.out + said.err
    assert not ORDERS.search(OWN.sub("", written) if force_terminal else written)


def test_names_are_shown_by_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        main(["data", "made.csv", "-t", "y"])
    assert SHOWN in capsys.readouterr().out


def test_json_keeps_the_names(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        main(["data", "made.csv", "-t", "y", "--json"])
    assert CLASS in json.loads(capsys.readouterr().out)["classes"]


def test_a_temporary_folder_that_is_removed_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.tempdir", str(folder / "gone"))
    with pytest.raises(SystemExit) as end:
        main(["data", "made.csv", "-t", "y"])
    assert end.value.code == 3
    said = capsys.readouterr().err
    assert re.fullmatch(r"nntune: the temporary files in .*gone were removed while .*\n", said)
