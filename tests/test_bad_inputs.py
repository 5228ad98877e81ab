"""Each mistake on the command line: its sentence, its exit code, no traceback, no new file."""

import gzip
import io
import os
import re
import signal
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from nntune import study
from nntune.cli import main
from nntune.space import NAMES, build
from nntune.study import Definition

BODY = "".join(f"{i * 1.5},{i % 3},{'ab'[i % 2]}\n" for i in range(60))
GOOD = "x,z,y\n" + BODY
NUMBERS = [f"{i * 0.37:.2f}" for i in range(60)]


def two(values: list[str]) -> str:
    return "x,y\n" + "".join(f"{i * 1.5},{v}\n" for i, v in enumerate(values))


def bomb(shape: str, unpacked: int) -> bytes:
    """An npz of few bytes, one array of this shape, that says how large it is when unpacked."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("X.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode())
        file.filelist[0].file_size = unpacked
    return packed.getvalue()


FILES: dict[str, str | bytes] = {
    "good.csv": GOOD,
    "other.csv": GOOD + "1,2,a\n",
    "price.csv": two(NUMBERS),
    "empty.csv": "",
    "header.csv": "x,y\n",
    "one.csv": "y\n" + "a\nb\n" * 30,
    "onesided.csv": "x,z,y\n" + "1,2,a\n" * 20,
    "class.csv": two(["a"] * 60),
    "constant.csv": two(["1"] * 60),
    "twice.csv": "y,x,y\n" + BODY,
    "junk.csv": bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
    "mixed.csv": two([*NUMBERS[:30], *(f"word {i}" for i in range(30))]),
    "infinite.csv": two(["inf", *NUMBERS]),
    "three.csv": two(["a", "b", "a"]),
    "rare.csv": two(["a", "b"] * 30 + ["c"]),
    "ids.csv": "x,y\n" + "".join(f"1,{'ab'[i % 2]}\n" for i in range(60)),
    "ragged.csv": GOOD + "1,2,a,4\n" + BODY,
    "cut.csv.gz": gzip.compress(GOOD.encode() * 9)[:-40],
    "bad.csv.gz": b"\x1f\x8b\x08\x00" + b"x" * 100,
    "bad.parquet": b"PAR1" + b"abc" * 40,
    "bad.npz": GOOD,
    "bomb.npz": bomb("(3, 2)", 10**15),
    "later.npz": bomb("(3, 2)", 128).replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\x6d"),
    "vast.npz": bomb("(900000000000000, 2)", 128),
    "bad.jsonl": '{"x": 1, "y": 2}\nhello\n',
    "array.json": '[{"x": 1, "y": 2},\n {"x": 2, "y": 3}]\n',
    "valid.csv": "x,z\n1,2\n",
    "text.db": "no database",
    "empty.db": "",
    "bad.toml": "lr = \n",
    "name.toml": 'learning_rate = "1e-4:1e-1:log"\n',
    "true.toml": "lr = true\n",
    "key.toml": "lr = { lo = 1, high = 2 }\n",
    "range.toml": 'dropout = "0.5:0"\n',
}
SEARCH = "search good.csv -t y "

BAD: list[tuple[str, int, str]] = [
    # the data file
    ("search missing.csv -t y", 3, "there is no file missing.csv. Did you mean 'ids.csv'?"),
    ("search god.csv -t y", 3, "there is no file god.csv. Did you mean 'good.csv'?"),
    ("search folder -t y", 3, "folder is a folder without pictures; name one file in it"),
    ("search empty.csv -t y", 3, "empty.csv is empty"),
    ("search header.csv -t y", 3, "header.csv has a header and no rows"),
    ("search one.csv -t y", 3,
     "one.csv has one column; a target and at least one other are needed"),
    ("search class.csv -t y", 3,
     "column y of class.csv is 'a' in every row; there is nothing to learn"),
    ("search constant.csv -t y", 3,
     "column y of constant.csv is '1' in every row; there is nothing to learn"),
    ("search twice.csv -t y", 3,
     "twice.csv has more than one column named 'y'; rename all but one"),
    ("search junk.csv -t y", 3,
     "junk.csv is not a text file; csv, tsv, jsonl, parquet and npz are read"),
    ("search mixed.csv -t y", 3,
     "column y of mixed.csv has 60 different values in 60 rows; these are no classes: choose "
     "another target, or a column of numbers"),
    ("search infinite.csv -t y", 3,
     "column y of infinite.csv is infinite in row 1 of the data; the target must be finite"),
    ("search three.csv -t y", 3, "three.csv has 3 rows with a target; 10 are the least"),
    ("search rare.csv -t y", 3,
     "rare.csv: classes of column y need at least 3 rows each, and 'c' has 1; drop those rows "
     "or merge the classes"),
    ("search ids.csv -t y", 3,
     "ids.csv has no column to learn from: all but y are constant, ids or ignored; --numeric, "
     "--categorical or --text keeps one"),
    ("search ragged.csv -t y", 3, "ragged.csv, line 62: 4 values where 3 are expected"),
    ("search cut.csv.gz -t y", 3,
     "cut.csv.gz: the gzip data ends too early; fetch the file again"),
    ("search bad.csv.gz -t y", 3, "bad.csv.gz: the gzip data is damaged; fetch the file again"),
    ("search bad.parquet -t y", 3,
     "bad.parquet is not a whole parquet file; fetch or write it again"),
    ("search bad.npz", 3, "bad.npz is not a whole npz file; save it again"),
    ("search bomb.npz", 3,
     "there is not enough memory to unpack bomb.npz; save a part of its rows"),
    ("search later.npz", 3, "later.npz is not a whole npz file; save it again"),
    ("search vast.npz", 3,
     "there is not enough memory to unpack vast.npz; save a part of its rows"),
    ("search bad.jsonl -t y", 3,
     "bad.jsonl, line 2: this is not a JSON object; each line of a jsonl file holds one"),
    ("search array.json -t y", 3,
     "array.json is one JSON array; a jsonl file holds an object a line, without brackets"),
    ("search sklearn:iriss", 3,
     "scikit-learn has no 'iriss' here; there are breast_cancer, diabetes, digits, iris, wine. "
     "Did you mean 'iris'?"),
    ("data missing.csv", 3, "there is no file missing.csv. Did you mean 'ids.csv'?"),
    ("data header.csv", 3, "header.csv has a header and no rows"),
    # what is asked of it
    (SEARCH + "--image 1x2 --series", 2,
     "--series: these are images; their columns are not the steps of a series."),
    ("search good.csv", 2, "say which column of good.csv to predict with -t; it has x, z, y"),
    ("search good.csv -t price", 3, "good.csv has no column 'price'; it has x, z, y."),
    ("search good.csv -t Y", 3, "good.csv has no column 'Y'; it has x, z, y. Did you mean 'y'?"),
    (SEARCH + "--ignore zz", 3, "good.csv has no column 'zz'; it has x, z, y. Did you mean 'z'?"),
    (SEARCH + "--ignore y", 2,
     "y is the target; --ignore, --categorical, --numeric and --text are for the others"),
    (SEARCH + "--numeric x --categorical x", 2,
     "x is in --categorical and in --numeric; it can be one of them"),
    (SEARCH + "--task regression", 3,
     "column y of good.csv holds words; regression needs numbers"),
    (SEARCH + "--task clustering", 2,
     "there is no task 'clustering'; it is one of auto, binary, multiclass, regression"),
    (SEARCH + "--metric acuracy", 2,
     "--metric acuracy: there are log_loss, accuracy, balanced_accuracy, auc, f1, rmse, mae, "
     "r2. Did you mean 'accuracy'?"),
    ("search price.csv -t y --metric auc", 2,
     "--metric auc does not fit a regression target; there are rmse, mae, r2."),
    (SEARCH + "--test ./good.csv", 2,
     "--test ./good.csv is the table itself; name a file with other rows, or leave it out, and a "
     "part of the table is kept apart"),
    (SEARCH + "--metric auc --valid onesided.csv", 2,
     "--metric auc needs two values of y, and the validation rows of good have one; "
     "--metric log_loss does with it."),
    ("search price.csv -t y --metric r2 --valid constant.csv", 2,
     "--metric r2 needs two values of y, and the validation rows of price have one; "
     "--metric rmse does with it."),
    (SEARCH + "--valid none.csv", 3, "there is no file none.csv. Did you mean 'one.csv'?"),
    (SEARCH + "--valid valid.csv", 3, "valid.csv has no column 'y'; it has x, z."),
    (SEARCH + "--test folder", 3, "folder is a folder without pictures; name one file in it"),
    # ranges
    (SEARCH + "--dropout 0.5:0", 2, "--dropout 0.5:0: the bounds are reversed; write 0:0.5"),
    (SEARCH + "--dropout 1", 2,
     "--dropout 1: a dropout is at least 0 and below 1, 1 is not; for example 0:0.5"),
    (SEARCH + "--dropout 0:1", 2,
     "--dropout 0:1: a dropout is at least 0 and below 1, 1 is not; for example 0:0.5"),
    (SEARCH + "--lr 0:1:log", 2,
     "--lr 0:1:log: a learning rate is above 0 and at most 1000, 0 is not; for example "
     "3e-4:3e-2:log"),
    (SEARCH + "--lr=-1", 2,
     "--lr -1: a learning rate is above 0 and at most 1000, -1 is not; for example "
     "3e-4:3e-2:log"),
    (SEARCH + "--lr fast", 2,
     "--lr fast: 'fast' is not a number; write for example 3e-4:3e-2:log"),
    (SEARCH + "--lr nan", 2,
     "--lr nan: nan is not a finite number; write for example 3e-4:3e-2:log"),
    (SEARCH + "--lr 1e-3,1e-2:1e-1", 2,
     "--lr 1e-3,1e-2:1e-1: a list holds single values and a range stands alone; only zero may "
     "stand before a log range, as in 0,1e-6:1e-2:log"),
    (SEARCH + "--lr 0,1e-3:1e-1:log", 2,
     "--lr 0,1e-3:1e-1:log: a learning rate is above 0 and at most 1000; leave out the zero: "
     "1e-3:1e-1:log"),
    (SEARCH + "--l2 0,1e-3:1e-1", 2,
     "--l2 0,1e-3:1e-1: zero may stand before a log range only; write 0,1e-3:1e-1:log"),
    (SEARCH + "--units [16,512]", 2,
     "--units [16,512]: brackets have two readings; write 16:512 for the range from 16 to 512, "
     "or 16,512 for these two values"),
    (SEARCH + "--units 16.5", 2,
     "--units 16.5: 16.5 is not a whole number; write for example 16,32,64,128,256"),
    (SEARCH + "--units 16:64:100", 2,
     "--units 16:64:100: the step is larger than the range; write 16,64"),
    (SEARCH + "--units 16:64:15", 2,
     "--units 16:64:15: steps of 15 from 16 reach 61, not 64; write 16:61:15 or 16:76:15"),
    (SEARCH + "--units 16:64:0", 2,
     "--units 16:64:0: the step must be above 0; leave it out for every value in between"),
    (SEARCH + "--units 16:64:lin", 2,
     "--units 16:64:lin: the third part is log or a step, not 'lin'"),
    (SEARCH + "--units 1:2:3:4", 2,
     "--units 1:2:3:4: a range has two or three parts: LO:HI, LO:HI:log or LO:HI:STEP"),
    (SEARCH + "--units 64:64", 2,
     "--units 64:64: both ends are equal; write 64 to fix it, or move one end"),
    (SEARCH + "--units 16,16", 2, "--units 16,16: 16 stands there twice; name each choice once"),
    (SEARCH + "--units 16,", 2,
     "--units 16,: a value is missing beside a comma; write for example 16,32,64,128,256"),
    (SEARCH + "--units=", 2, "--units '': there is no value; write for example 16,32,64,128,256"),
    (SEARCH + "--hidden-layers 101", 2,
     "--hidden-layers 101: a network has 0 to 100 hidden layers, 101 is not; for example 1:4"),
    (SEARCH + "--batch-size 0", 2,
     "--batch-size 0: a batch has 1 to 1048576 rows, 0 is not; for example 32,64,128,256"),
    (SEARCH + "--epochs 0", 2,
     "--epochs 0: training takes 1 to 1000000 epochs, 0 is not; for example 100"),
    (SEARCH + "--activation relo", 2,
     "--activation relo: 'relo' is not known; there are relu, tanh, gelu, silu. Did you mean "
     "'relu'?"),
    (SEARCH + "--optimizer adam:sgd", 2,
     "--optimizer adam:sgd: these are words, not a range; write one or more of adam, sgd"),
    (SEARCH + "--model net.py", 2,
     "--model net.py: name the network in the file too, as in net.py:Net"),
    (SEARCH + "--cv 1", 2,
     "--cv 1: one fold has nothing to be validated on; --cv takes 2 or more."),
    ("data good.csv -t y --cv 1", 2,
     "--cv 1: one fold has nothing to be validated on; --cv takes 2 or more."),
    ("space --shape round", 2, "--shape round: 'round' is not known; there are flat, taper"),
    (SEARCH + "--space none.toml", 2,
     "there is no space file none.toml; `nntune space > none.toml` writes one"),
    (SEARCH + "--space folder", 2, "folder cannot be read as a space file: Is a directory"),
    (SEARCH + "--space bad.toml", 2,
     "bad.toml is not valid TOML: Invalid value (at line 1, column 6)"),
    (SEARCH + "--space name.toml", 2,
     f"name.toml: no hyperparameter named 'learning_rate'; there are {', '.join(NAMES)}. "
     "Did you mean 'lr'?"),
    (SEARCH + "--space true.toml", 2,
     "true.toml: lr is true or false; write a range in quotes, or a number"),
    (SEARCH + "--space key.toml", 2,
     "key.toml: lr has no key 'lo'; there are low, high, log, step, zero. Did you mean 'low'?"),
    (SEARCH + "--space range.toml", 2,
     "range.toml: dropout 0.5:0: the bounds are reversed; write 0:0.5"),
    (SEARCH + "--space junk.csv", 2,
     "junk.csv is not a text file in UTF-8; a space file is TOML"),
    # how to search
    (SEARCH + "--sampler tpo", 2,
     "--sampler tpo: there are tpe, qmc, random, gp, cmaes. Did you mean 'tpe'?"),
    (SEARCH + "--pruner mean", 2,
     "--pruner mean: there are halving, none, hyperband, median. Did you mean 'median'?"),
    (SEARCH + "--device gpu", 2,
     "--device gpu: there are cpu, cuda, mps, auto. Did you mean 'cuda'?"),
    (SEARCH + "--time soon", 2, "--time soon: say how long, such as 90s, 10m or 1.5h."),
    (SEARCH + "--time 0", 2, "--time 0: a duration is above 0, such as 90s, 10m or 1.5h."),
    (SEARCH + "--time=-5s", 2, "--time -5s: a duration is above 0, such as 90s, 10m or 1.5h."),
    (SEARCH + "--until nan", 2, "--until nan: a number is needed, such as 0.1."),
    (SEARCH + "--study=", 2,
     "--study '': a name is needed; without --study it is that of the data."),
    (SEARCH + "--ignore x --categorical x", 2,
     "x is in --categorical and in --ignore; it can be one of them"),
    (SEARCH + "--cv 500", 2, "--cv 500: every fold needs"),
    (SEARCH + "--time=", 2, "--time '': say how long, such as 90s, 10m or 1.5h."),
    (SEARCH + "--trials 0", 2,
     "Invalid value for '-n' / '--trials'"),
    (SEARCH + "--workers 0", 2,
     "Invalid value for '-j' / '--workers'"),
    (SEARCH + "--workers two", 2,
     "Invalid value for '-j' / '--workers': "),
    (SEARCH + "--patience 0", 2,
     "Invalid value for '--patience'"),
    (SEARCH + "--seed=-1", 2,
     "Invalid value for '--seed'"),
    (SEARCH + "--study a/b", 2,
     "--study a/b: a name has no slash; --db FILE says where the study is kept."),
    # where it is kept
    (SEARCH + "--db folder", 5, "folder is a folder; name the file of a study in it."),
    (SEARCH + "--db text.db", 5, "text.db is no database of studies; it is not an SQLite file."),
    (SEARCH + "--db songs.db", 5,
     "songs.db is an SQLite database of something else; it has no studies."),
    (SEARCH + "--db newer.db --study made", 5,
     "study 'made' in newer.db was written by a newer nntune (schema 99; this one reads up to "
     "1); upgrade nntune."),
    (SEARCH + "--db good.csv/x.db", 5, "good.csv/x.db cannot be read: Not a directory."),
    ("search other.csv -t y --db made.db --study made", 7,
     "this search differs from study 'made': fingerprint of other data -> "),
    ("best", 4, "/studies; nntune search makes one."),
    ("trials nowhere/x.db", 4, "there is no file nowhere/x.db."),
    ("best wine", 4, "/studies; nntune search makes one."),
    ("best none.db", 4, "there is no file none.db. Did you mean 'songs.db'?"),
    ("best --db made.bd", 4, "there is no file made.bd. Did you mean 'made.db'?"),
    ("best --db folder", 5, "folder is a folder; name the file of a study in it."),
    ("best --db text.db", 5, "text.db is no database of studies; it is not an SQLite file."),
    ("best --db songs.db", 5,
     "songs.db is an SQLite database of something else; it has no studies."),
    ("best --db newer.db", 5,
     "study 'made' in newer.db was written by a newer nntune (schema 99; this one reads up to "
     "1); upgrade nntune."),
    ("best --db empty.db", 4, "empty.db is empty; there is no study in it."),
    ("best --db made.db", 4, "study 'made' has no trial with a value yet."),
    ("best --db made.db mode", 4,
     "made.db holds no study 'mode'; it holds made. Did you mean 'made'?"),
    ("trials --db good.csv/x.db", 5, "good.csv/x.db cannot be read: Not a directory."),
    ("trials --db made.db --state done", 2,
     "--state done: there are complete, pruned, failed and running."),
    ("trials --db made.db --top 0", 2,
     "Invalid value for '--top'"),
    ("show 7 --db made.db", 4, "study 'made' has no trials yet; there is no trial 7."),
    ("show best --db made.db", 2,
     "Invalid value for 'N'"),
    ("studies none", 4, "there is no file none."),
    ("studies text.db", 5, "text.db is no database of studies; it is not an SQLite file."),
    # the command line itself
    ("serch good.csv", 2, "No such command 'serch'. Did you mean 'search'?"),
    ("search", 2, "Missing argument 'DATA'."),
    (SEARCH + "--learning-rate 1", 2, "No such option: --learning-rate"),
]  # fmt: skip


DEFINITION = Definition(
    data={"fingerprint": "of other data", "target": "y"},
    space={each.name: each.text for each in build({}).hyperparameters},
    metric="log_loss",
    direction="minimize",
    seed=0,
    sampler="tpe",
    pruner="halving",
    training={"rungs": [1], "patience": 20, "width": 32, "eta": 3, "product": "torch"},
    versions={},
    command="",
)


def make_databases(folder: Path) -> None:
    """A study without trials, the same of a newer version, and a database of something else."""
    for name in ("made.db", "newer.db"):
        study.open_writer(folder / name, "made", DEFINITION).close()
    with closing(sqlite3.connect(folder / "newer.db")) as connection, connection:
        connection.execute("UPDATE nntune_study SET schema = 99")
    with closing(sqlite3.connect(folder / "songs.db")) as connection, connection:
        connection.execute("CREATE TABLE songs (name TEXT)")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files with something wrong, each in its own way."""
    folder = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "folder").mkdir()
    make_databases(folder)
    return folder


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def said(text: str) -> str:
    """A message in one line, without the box around Typer's."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text).strip()


@pytest.mark.parametrize(("line", "code", "sentence"), BAD, ids=[line for line, *_ in BAD])
def test_a_mistake_has_its_sentence_and_leaves_no_file(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(place)
    before = contents(place)
    with pytest.raises(SystemExit) as end:
        main(line.split())
    output, message = capsys.readouterr()
    assert sentence in said(message)
    assert (end.value.code, output) == (code, "")
    assert "Traceback" not in message
    assert contents(place) == before


def test_a_study_has_to_be_named_where_there_are_several(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    make_databases(tmp_path / "studies")
    with study.open_writer(Path("studies/made.db"), "other", DEFINITION):
        pass
    for line, code, sentence in (
        ("best", 4, "there are 2 studies, say which: made, other."),
        ("best othr", 4,
         "there is no study 'othr' in studies; there are made, other. Did you mean 'other'?"),
        ("best studies/made.db", 2,
         "studies/made.db holds the studies made, other; say which one."),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert (end.value.code, capsys.readouterr()) == (code, ("", f"nntune: {sentence}\n"))


def test_a_file_in_place_of_the_folder_of_studies_is_named(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").write_text("")
    for line, code, sentence in (
        (
            f"search {place / 'good.csv'} -t y",
            5,
            "studies/good.db cannot be read: Not a directory.",
        ),
        ("best", 4, f"there are no studies in {tmp_path / 'studies'}; nntune search makes one."),
        ("studies", 4, "studies is empty; there is no study in it."),
    ):
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert (end.value.code, capsys.readouterr()) == (code, ("", f"nntune: {sentence}\n"))
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    with pytest.raises(SystemExit) as end:
        main(["search", str(place / "good.csv"), "-t", "y"])
    tmp_path.chmod(0o700)
    assert end.value.code == 5
    message = capsys.readouterr().err
    assert message == "nntune: the folder studies cannot be made: Permission denied.\n"
    assert list(tmp_path.iterdir()) == []
