"""Each mistake in a data file or in what is asked of it has one sentence of its own."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from nntune.data import Request, load
from nntune.data.plan import plan_of
from nntune.errors import DataError, Error, UsageError

BODY = "".join(f"{i * 1.5},{i % 3},{'ab'[i % 2]}\n" for i in range(60))
GOOD = "x,z,y\n" + BODY
FAR = GOOD + BODY * 399  # more rows than the sniffer sees


def two(values: list[object]) -> str:
    return "x,y\n" + "".join(f"{i * 1.5},{v}\n" for i, v in enumerate(values))


def arrays(**named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **named)
    return buffer.getvalue()


JUNK = bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8))
NO_JSON = "this is not a JSON object; each line of a jsonl file holds one"
NOTHING = "in every row; there is nothing to learn"

FILES: list[tuple[str, bytes | str, str]] = [
    ("empty.csv", "", "empty.csv is empty"),
    ("blank.csv", "\n\n", "blank.csv is empty"),
    ("header.csv", "x,y\n", "header.csv has a header and no rows"),
    ("one.csv", "y\n1\n2\n3\n",
     "one.csv has one column; a target and at least one other are needed"),
    ("same.csv", two(["a"] * 50), f"column y of same.csv is 'a' {NOTHING}"),
    ("same.csv", two([1] * 50), f"column y of same.csv is '1' {NOTHING}"),
    ("gone.csv", two([""] * 50), "gone.csv has 0 rows with a target; 10 are the least"),
    ("onerow.csv", two(["a"]), "onerow.csv has 1 row with a target; 10 are the least"),
    ("three.csv", two(["a", "b", "a"]), "three.csv has 3 rows with a target; 10 are the least"),
    ("names.csv", two([f"n{i}" for i in range(50)]),
     "column y of names.csv has 50 different values in 50 rows; these are no classes: "
     "choose another target, or a column of numbers"),
    ("rare.csv", two(["a", "b"] * 20 + ["c", "c"]),
     "rare.csv: classes of column y need at least 3 rows each, and 'c' has 2; "
     "drop those rows or merge the classes"),
    ("dates.csv", two([f"2020-{1 + i % 9:02}-{1 + i % 4:02}" for i in range(72)]),
     "column y of dates.csv holds dates; nntune predicts classes and numbers"),
    ("dates.csv", two([f"{1 + i % 28}.{1 + i % 12}.2020" for i in range(72)]),
     "column y of dates.csv holds dates; nntune predicts classes and numbers"),
    ("inf.csv", two(["inf", *range(50)]),
     "column y of inf.csv is infinite in row 1 of the data; the target must be finite"),
    ("large.csv", two([7e155, *range(50)]),
     "column y of large.csv holds 7e+155; a target is at most 1e+30 in size"),
    ("stray.csv", two(["abc", *range(50)]),
     "column y of stray.csv has words among its numbers ('abc'); empty those cells"),
    ("a.xlsx", b"PK\x03\x04" + b"x" * 90,
     "a.xlsx is a zip file or a spreadsheet; save the table as csv"),
    ("twice.csv", "y,x,y\n" + BODY,
     "twice.csv has more than one column named 'y'; rename all but one"),
    ("junk.csv", JUNK, "junk.csv is not a text file; csv, tsv, jsonl, parquet and npz are read"),
    ("short.csv", GOOD + "1,2\n", "short.csv, line 62: 2 values where 3 are expected"),
    ("long.csv", GOOD + "1,2,a,4\n" + BODY, "long.csv, line 62: 4 values where 3 are expected"),
    ("open.csv", 'x,y\n1,"abc\n' + BODY, "open.csv: a quote is opened and never closed"),
    ("far.csv", FAR + '1,"abc,a\n' + BODY * 200,
     "far.csv, line 24002: a quote is opened and never closed"),
    ("cell.csv", FAR + f"1,{'2' * 140_000},a\n1,2\n",
     "cell.csv, line 24003: 2 values where 3 are expected"),
    ("title.csv", f"Report of the year\n\n{FAR}1,2\n",
     "title.csv, line 24004: 2 values where 3 are expected"),
    ("constant.csv", "x,y\n" + "".join(f"1,{'ab'[i % 2]}\n" for i in range(40)),
     "constant.csv has no column to learn from: all but y are constant, ids or ignored; "
     "--numeric, --categorical or --text keeps one"),
    ("cut.csv.gz", gzip.compress(GOOD.encode() * 9)[:-40],
     "cut.csv.gz: the gzip data ends too early; fetch the file again"),
    ("bad.csv.gz", b"\x1f\x8b\x08\x00" + b"x" * 100,
     "bad.csv.gz: the gzip data is damaged; fetch the file again"),
    ("a.npz", arrays(A=np.ones(3), b=np.ones(3)),
     "a.npz holds A, b; X and y are needed, or X_train, y_train, X_test and y_test"),
    ("a.npz", arrays(X=np.array([[print]], object), y=np.ones(1)),
     "a.npz holds an array of Python objects, which is never opened; "
     "save plain numbers or strings"),
    ("a.npz", arrays(X=np.ones((5, 2)), y=np.ones(4)),
     "a.npz: X has 5 rows and y has shape (4,); they must agree"),
    ("a.npz", arrays(X=np.ones((5, 2)), y=np.ones((5, 2))),
     "a.npz: y has shape (5, 2); one column is predicted, so it needs shape (5,)"),
    ("a.npz", arrays(X=np.ones(5), y=np.ones(5)),
     "a.npz: X has shape (5,); it needs a row for each example"),
    ("a.npz", arrays(X=np.array([["u"]] * 5), y=np.ones(5)),
     "a.npz: X is of type <U1; it needs to be numbers"),
    ("a.npz", arrays(X_train=np.ones((5, 2)), y_train=np.ones(5), X_test=np.ones((5, 3)),
                     y_test=np.ones(5)),
     "a.npz: an example of X_train is 2 and one of X_test 3; both need the same shape"),
    ("a.npz", arrays(X=np.ones((5, 2, 8)), y=np.ones(5), lengths=np.array([8, 1, 9, 0, 8])),
     "a.npz: lengths says 9 in row 3; a series has 1 to 8 steps"),
    ("a.npz", arrays(X_train=np.ones((5, 2, 8)), y_train=np.ones(5),
                     lengths_train=np.array([8, 1, 3, 0, 8])),
     "a.npz: lengths_train says 0 in row 4; a series has 1 to 8 steps"),
    ("a.npz", arrays(X=np.ones((5, 2))),
     "a.npz holds X; X and y are needed, or X_train, y_train, X_test and y_test"),
    ("a.npz", arrays(X=np.ones(3))[:60], "a.npz is not a whole npz file; save it again"),
    ("a.npz", GOOD, "a.npz is not a whole npz file; save it again"),
    ("a.parquet", b"PAR1" + b"abc" * 40,
     "a.parquet is not a whole parquet file; fetch or write it again"),
    ("a.jsonl", '{"x": 1, "y": 2}\nhello\n', f"a.jsonl, line 2: {NO_JSON}"),
    ("nested.jsonl", '{"a": {"q": 0}, "b": [1, 2], "y": 0}\n' * 20,
     "nested.jsonl has one column (left out as lists, structures or bytes: a, b); a target and at "
     "least one other are needed"),
    ("a.jsonl", "[1, 2]\n[3, 4]\n", f"a.jsonl, line 1: {NO_JSON}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "sentence"), FILES)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: bytes | str, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as refusal:
        load(Request(str(path), None if name == "a.npz" else "y"))
    assert str(refusal.value) == sentence
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("flag", ["valid", "test"])
def test_a_second_file_without_a_column_is_refused_before_it_is_encoded(
    tmp_path: Path, flag: str
) -> None:
    rows = [f"{i * 7 % 13},{i % 5},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["x,z,y", *rows]))
    (tmp_path / "b.csv").write_text("x,y\n1,a\n2,b\n")
    request = Request(str(tmp_path / "a.csv"), "y", **{flag: str(tmp_path / "b.csv")})
    with pytest.raises(DataError, match=r"^b.csv has no column 'z', which the network needs$"):
        plan_of(request)


REQUESTS: list[tuple[dict[str, object], type[Error], str]] = [
    ({"target": None}, UsageError,
     "say which column of good.csv to predict with -t; it has x, z, y"),
    ({"target": "price"}, DataError, "good.csv has no column 'price'; it has x, z, y."),
    ({"target": "Y"}, DataError,
     "good.csv has no column 'Y'; it has x, z, y. Did you mean 'y'?"),
    ({"ignore": ("zz",)}, DataError,
     "good.csv has no column 'zz'; it has x, z, y. Did you mean 'z'?"),
    ({"ignore": ("y",)}, UsageError,
     "y is the target; --ignore, --categorical, --numeric and --text are for the others"),
    ({"numeric": ("x",), "categorical": ("x",)}, UsageError,
     "x is in --categorical and in --numeric; it can be one of them"),
    ({"task": "regression"}, DataError,
     "column y of good.csv holds words; regression needs numbers"),
    ({"task": "ranking"}, UsageError,
     "there is no task 'ranking'; it is one of auto, binary, multiclass, regression"),
    ({"target": "z", "task": "binary"}, DataError,
     "column z of good.csv has 3 classes; a binary task has 2"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "kind", "sentence"), REQUESTS)
def test_a_request_that_does_not_fit_the_table_is_refused_in_one_sentence(
    tmp_path: Path, asked: dict[str, object], kind: type[Error], sentence: str
) -> None:
    (tmp_path / "good.csv").write_text(GOOD)
    with pytest.raises(kind) as refusal:
        load(Request(**{"source": str(tmp_path / "good.csv"), "target": "y", **asked}))  # type: ignore[arg-type]
    assert str(refusal.value) == sentence


def test_a_path_that_is_no_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "wine.csv").write_text(GOOD)
    wrong = tmp_path / "wines.csv"
    with pytest.raises(DataError) as refusal:
        load(Request(str(wrong), "y"))
    assert str(refusal.value) == f"there is no file {wrong}. Did you mean 'wine.csv'?"
    with pytest.raises(DataError) as refusal:
        load(Request(str(tmp_path), "y"))
    assert str(refusal.value) == (
        f"{tmp_path} is a folder without pictures; name one file in it, or a folder that has a "
        "sub-folder of png or jpg files for each class"
    )


def test_an_unknown_set_of_scikit_learn_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DataError) as refusal:
        load(Request("sklearn:iriss"))
    assert str(refusal.value) == (
        "scikit-learn has no 'iriss' here; there are breast_cancer, diabetes, digits, iris, wine. "
        "Did you mean 'iris'?"
    )


def test_words_in_the_target_of_a_validation_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(two([i * 0.5 for i in range(50)]))
    (tmp_path / "b.csv").write_text(two(["low", "high"] * 20))
    with pytest.raises(DataError) as refusal:
        load(Request(str(tmp_path / "a.csv"), "y", valid=str(tmp_path / "b.csv")))
    assert str(refusal.value) == "column y of b.csv holds words; regression needs numbers"


def test_a_class_that_only_the_validation_file_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.csv").write_text(GOOD + "1,2,c\n")
    with pytest.raises(DataError) as refusal:
        load(Request(str(tmp_path / "a.csv"), "y", valid=str(tmp_path / "b.csv")))
    assert str(refusal.value) == "b.csv: class 'c' of column y is not in the training data"
