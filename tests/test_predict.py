"""Predictions: each table is read as the training table was, whatever its form."""

import csv
import gzip
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from test_bundle import HITTERS, PENGUINS, TABLES, made

import nntune
from nntune import bundle
from nntune.bundle import Predictor
from nntune.bundle.evaluation import evaluate
from nntune.cli import main
from nntune.data import Request, load
from nntune.data import chunks as parts
from nntune.data.fitting import Doubts
from nntune.data.frames import table_of
from nntune.data.learning import load as load_rows
from nntune.data.plan import ASKED, plan_of
from nntune.errors import DataError

REQUESTS = {
    "penguins": PENGUINS,
    "hitters": HITTERS,
    "wage": Request(str(TABLES / "wage_400.csv"), "wage"),
    "nyse": Request(str(TABLES / "nyse_600.csv"), "log_volume"),
    "default": Request(str(TABLES / "default_600.csv"), "default"),
    "vader": Request(str(TABLES / "vader_amazon_500.csv"), "valence"),
}
Command = Callable[..., tuple[int, str, str]]
Columns = dict[str, list[Any]]


class Frame:
    """A data frame as any library has it: names, and a column for a name."""

    def __init__(self, cells: Columns) -> None:
        self.columns, self._cells = list(cells), cells

    def __getitem__(self, name: str) -> list[Any]:
        return self._cells[name]


def read(source: str | Path) -> Columns:
    """A csv file as plain values: numbers, words, None."""
    with Path(source).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [value(row[name]) for row in rows] for name in rows[0]}


def value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None


def save(path: Path, columns: Columns, delimiter: str = ",") -> Path:
    """Plain values as a csv file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


def convert(source: str, path: Path) -> Path:
    """A csv file as parquet or json, by the ending of the path."""
    form = path.suffix[1:].removesuffix("l")
    duckdb.sql(f"copy (select * from read_csv('{source}')) to '{path}' (format {form})")
    return path


def without(columns: Columns, names: Sequence[str]) -> Columns:
    return {name: cells for name, cells in columns.items() if name not in names}


@pytest.fixture
def nn(capsys: pytest.CaptureFixture[str]) -> Command:
    """A command in this process: exit code, standard output, standard error."""

    def ran(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(str(end.value.code or 0)), out, err

    return ran


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "penguins.nnt"
    bundle.write(path, made())
    return path


def header(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[0].split(",")


def lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()


def test_categories_and_classes_of_18_digits_are_told_apart_in_every_form(tmp_path: Path) -> None:
    base = 900_000_000_000_000_000
    codes = [base + i % 4 if i % 9 else None for i in range(120)]
    table: Columns = {"code": codes, "y": [base + (i % 4 > 1) for i in range(120)]}
    path = save(
        tmp_path / "a.csv", {k: ["" if c is None else c for c in v] for k, v in table.items()}
    )
    found = made(Request(str(path), "y", categorical=("code",)))
    predictor = Predictor(found)
    expected = predictor.predict_proba(str(path))
    padded = {"code": ["" if code is None else f"+0{code}" for code in codes]}

    assert {column["name"]: column["kind"] for column in found.columns} == dict.fromkeys(
        table, "whole"
    )
    assert predictor.classes_.tolist() == [base, base + 1]
    assert len(np.unique(expected.round(9), axis=0)) == 5
    for form in (
        Frame(table),
        str(convert(str(path), tmp_path / "a.parquet")),
        str(convert(str(path), tmp_path / "a.jsonl")),
        str(save(tmp_path / "padded.csv", padded)),
    ):
        np.testing.assert_array_equal(predictor.predict_proba(form), expected)
    there = [row for row, code in enumerate(codes) if code]
    whole = {"code": np.array([codes[row] for row in there])}  # of int64, without gaps
    np.testing.assert_array_equal(predictor.predict_proba(whole), expected[there])
    assert evaluate(found, str(path)).rows == 120


@pytest.mark.parametrize("name", REQUESTS)
def test_every_form_of_a_table_gives_what_the_training_reading_gives(
    name: str, tmp_path: Path
) -> None:
    request = REQUESTS[name]
    predictor = Predictor(made(request))
    plan = plan_of(request)
    expected = predictor.scores(plan.encoder.transform(plan.table))

    assert np.array_equal(predictor._values(request.source), expected)
    for ending in ("parquet", "jsonl"):
        path = convert(request.source, tmp_path / f"rows.{ending}")
        assert np.array_equal(predictor._values(path), expected), ending
    assert np.allclose(predictor._values(Frame(read(request.source))), expected, atol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", REQUESTS)
def test_data_frames_are_read_like_files(library: str, name: str) -> None:
    frames = pytest.importorskip(library)
    source = REQUESTS[name].source
    predictor = Predictor(made(REQUESTS[name]))

    assert np.allclose(
        predictor._values(frames.read_csv(source)), predictor._values(source), atol=1e-9
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_parts_of_a_file_give_what_the_whole_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(made(REQUESTS[name]))
    whole = predictor._values(REQUESTS[name].source)

    monkeypatch.setattr(parts, "BLOCK", 5000)

    # The last digits depend on how many rows are multiplied at once.
    assert np.allclose(predictor._values(REQUESTS[name].source), whole, rtol=1e-5)


def test_parquet_comes_in_ranges_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(made())
    path = convert(PENGUINS.source, tmp_path / "rows.parquet")
    whole = predictor._values(path)

    monkeypatch.setattr(parts, "PARQUET_ROWS", 100)

    assert len(whole) == 344
    assert np.allclose(predictor._values(path), whole, rtol=1e-5)


def test_a_fresh_process_predicts_the_same_without_torch(model: Path) -> None:
    code = (
        "import sys, nntune\n"
        f"print(*nntune.load({str(model)!r}).predict({PENGUINS.source!r}), sep='\\n')\n"
        "heavy = {'torch', 'optuna', 'sklearn', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    expected = nntune.load(model).predict(Frame(read(PENGUINS.source)))
    assert done.stdout.splitlines() == expected.tolist()


def test_predictions_are_lines_in_the_order_of_the_rows(model: Path, nn: Command) -> None:
    code, out, err = nn("predict", model, PENGUINS.source)

    assert (code, err) == (0, "")
    assert out.splitlines() == ["prediction", *nntune.load(model).predict(PENGUINS.source)]


def test_probabilities_follow_the_prediction(model: Path, nn: Command) -> None:
    code, out, err = nn("predict", model, PENGUINS.source, "--proba")

    assert (code, err) == (0, "")
    names, *rows = csv.reader(io.StringIO(out))
    classes = ["Adelie", "Chinstrap", "Gentoo"]
    assert names == ["prediction", *(f"probability_{name}" for name in classes)]
    expected = nntune.load(model).predict_proba(PENGUINS.source)
    assert np.allclose(np.array(rows)[:, 1:].astype(float), expected, rtol=1e-8)
    assert np.allclose(expected.sum(1), 1)


def test_numbers_are_predicted_in_their_unit(tmp_path: Path, nn: Command) -> None:
    bundle.write(tmp_path / "h.nnt", made(HITTERS))

    code, out, _ = nn("predict", tmp_path / "h.nnt", HITTERS.source)

    values = np.array([float(line) for line in out.splitlines()[1:]])
    assert code == 0
    assert np.allclose(values, Predictor(made(HITTERS)).predict(HITTERS.source), rtol=1e-8)
    assert 100 < values.mean() < 1000


def test_numbers_have_no_probabilities(tmp_path: Path, nn: Command) -> None:
    bundle.write(tmp_path / "h.nnt", made(HITTERS))

    code, _, err = nn("predict", tmp_path / "h.nnt", HITTERS.source, "--proba")

    assert (code, err) == (
        2, "nntune: --proba: h.nnt predicts numbers, which have no probabilities.\n"
    )  # fmt: skip
    with pytest.raises(AttributeError, match="has no predict_proba"):
        Predictor(made(HITTERS)).predict_proba(HITTERS.source)


def test_reordered_and_extra_columns_make_no_difference(tmp_path: Path) -> None:
    predictor, columns = Predictor(made()), read(PENGUINS.source)
    turned = dict(reversed(columns.items())) | {"more": ["x; y"] * 344}
    changed = save(tmp_path / "changed.csv", turned, delimiter=";")

    assert np.array_equal(predictor._values(changed), predictor._values(PENGUINS.source))


def test_missing_columns_are_named_in_one_sentence(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    rows = save(tmp_path / "rows.csv", without(read(PENGUINS.source), ["sex", "year"]))

    code, out, err = nn("predict", model, rows)

    assert (code, out) == (3, "")
    assert err == (
        "nntune: rows.csv has no columns sex, year, which the network needs; it has species, "
        "island, bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g.\n"
    )
    named = {"Sex" if name == "sex" else name: v for name, v in read(PENGUINS.source).items()}
    with pytest.raises(DataError, match=r"the table has no column 'sex', .* Did you mean 'Sex'"):
        Predictor(made()).predict(Frame(named))


def test_an_unseen_category_is_none_of_those_that_were_seen() -> None:
    predictor = Predictor(made())
    columns = read(PENGUINS.source) | {"island": ["Atlantis"] * 344}

    rows = predictor.columns.fitted(table_of(Frame(columns), []), Doubts())

    names = predictor._encoder.names
    islands = [place for place, name in enumerate(names) if name.startswith("island=")]
    assert len(islands) == 3
    assert not predictor._encoder.transform(rows)[:, islands].any()


def test_an_unseen_category_counts_as_rare_where_there_were_rare_ones(tmp_path: Path) -> None:
    columns = read(PENGUINS.source)
    columns["sex"] = ["rare a", "rare b", "rare c", *columns["sex"][3:]]
    source = save(tmp_path / "rows.csv", columns)
    predictor = Predictor(made(Request(str(source), "species"), rows="all"))

    rare = (
        predictor.columns.fitted(table_of(Frame(columns), []), Doubts())
        .columns["sex"]
        .take(np.arange(3))
    )
    (feature,) = [f for f in predictor.columns.features if f.column == "sex"]
    out = np.zeros((3, feature.width), np.float32)
    feature.fill(rare, out, out[:, :0])

    assert feature.rare
    assert (out[:, len(feature.levels)] == 1).all()
    columns["sex"] = ["never seen", *columns["sex"][1:]]
    values = predictor._values(save(tmp_path / "other.csv", columns))
    assert np.allclose(values, predictor._values(source), rtol=1e-6)


def test_a_few_words_among_numbers_are_missing_and_said(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(Path(PENGUINS.source).read_text().replace("39.1", "oops", 1))

    code, out, err = nn("predict", model, rows)

    assert code == 0
    assert len(out.splitlines()) == 345
    assert err == (
        "note: column 'bill_length_mm': 1 unreadable cells (such as 'oops') count as missing\n"
    )


@pytest.mark.parametrize("form", ["csv", "frame"])
def test_words_in_a_column_of_numbers_are_a_sentence(tmp_path: Path, form: str) -> None:
    columns = read(PENGUINS.source) | {"year": ["this year"] * 344}
    rows = save(tmp_path / "rows.csv", columns)

    with pytest.raises(
        DataError,
        match=r"column 'year' of .* should hold numbers, as in training; "
        r"344 of 344 cells do not, such as 'this year'",
    ):
        Predictor(made()).predict(rows if form == "csv" else Frame(columns))


@pytest.mark.parametrize("block", [100, 1 << 20])
def test_records_with_quotes_are_never_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    rows = tmp_path / "rows.csv"
    text = lines(PENGUINS.source)
    quoted = [f'{line},"a ""b"", \nsecond line, {n}"' for n, line in enumerate(text[1:])]
    rows.write_text("\n".join([text[0] + ",note", *quoted]) + "\n")
    monkeypatch.setattr(parts, "BLOCK", block if block > 1000 else 3000)

    values = Predictor(made())._values(str(rows))

    # Some kernels of OpenBLAS (Haswell) round a row by its place in the product, hence by the cut.
    np.testing.assert_allclose(values, Predictor(made())._values(PENGUINS.source), rtol=1e-5)


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet", "latin", "late latin"])
def test_standard_input_may_have_any_form(model: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    text = Path(PENGUINS.source).read_text()
    match form:
        case "jsonl" | "parquet":
            convert(PENGUINS.source, path)
        case "latin":
            path.write_text(text.replace("species", "esp\xe9cie"), encoding="latin-1")
        case "late latin":
            path.write_text(f"{text}\xe9,,,,,,,\n", encoding="latin-1")
        case "csv.gz":
            path.write_bytes(gzip.compress(text.encode()))
        case _:
            path.write_text(text)

    with path.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "nntune", "predict", str(model), "-"],
            stdin=stream, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert done.stderr == ""
    expected = nntune.load(model).predict(PENGUINS.source)
    assert done.stdout.splitlines()[1:345] == expected.tolist()


def test_standard_input_that_changes_its_encoding_far_down_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = Path(PENGUINS.source).read_bytes() + b"\xe9,,,,,,,\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    monkeypatch.setattr(parts, "BLOCK", 5000)

    with pytest.raises(DataError, match=r"^standard input begins as UTF-8 and goes on in another"):
        Predictor(made()).predict("-")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predictions_go_to_a_file_which_is_not_written_over(
    model: Path, tmp_path: Path, nn: Command, ending: str
) -> None:
    out = tmp_path / f"out.{ending}"

    assert nn("predict", model, PENGUINS.source, "--proba", "-o", out) == (0, "", "")
    found = duckdb.sql(f"from '{out}'").fetchnumpy()
    expected = nntune.load(model)
    assert found.pop("prediction").tolist() == expected.predict(PENGUINS.source).tolist()
    probabilities = expected.predict_proba(PENGUINS.source)
    assert np.allclose(np.stack(list(found.values()), 1), probabilities, rtol=1e-8)
    assert nn("predict", model, PENGUINS.source, "-o", out)[0] == 7
    assert nn("predict", model, PENGUINS.source, "-o", out, "--force")[0] == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_table_is_not_written_over_by_its_predictions(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    table = Path(shutil.copy(PENGUINS.source, tmp_path / "table.csv"))
    code, _, err = nn("predict", model, table, "-o", table, "--force")

    assert (code, err) == (
        2,
        f"nntune: -o {table} is what is read here; name another file to write.\n",
    )
    assert table.read_bytes() == Path(PENGUINS.source).read_bytes()


def test_of_two_columns_with_a_needed_name_the_first_is_said_to_be_read(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    header, *lines = Path(PENGUINS.source).read_text().splitlines()
    twice = [f"{header},{header.split(',')[2]}", *(f"{line},7" for line in lines)]
    (tmp_path / "twice.csv").write_text("\n".join(twice) + "\n")
    once = nn("predict", model, PENGUINS.source)
    code, out, err = nn("predict", model, tmp_path / "twice.csv")

    assert (code, out) == (0, once[1])
    name = header.split(",")[2]
    assert err == f"note: twice.csv has two columns named '{name}'; the network reads the first\n"


def test_another_ending_is_a_sentence(model: Path, tmp_path: Path, nn: Command) -> None:
    code, _, err = nn("predict", model, PENGUINS.source, "-o", tmp_path / "out.xlsx")

    assert code == 2
    assert err.endswith("out.xlsx: predictions are written to .csv or .parquet files.\n")


def test_a_label_like_a_formula_is_quoted_in_csv_alone(tmp_path: Path, nn: Command) -> None:
    risky = replace(made(), classes=('=HYPERLINK("x")', "-1", "@b"))
    bundle.write(tmp_path / "a.nnt", risky)

    code, out, err = nn("predict", tmp_path / "a.nnt", PENGUINS.source, "--proba")
    nn("predict", tmp_path / "a.nnt", PENGUINS.source, "-o", tmp_path / "p.parquet")

    assert code == 0
    assert (
        "note: classes '=HYPERLINK(\"x\")', '@b' begin like a formula of a spreadsheet; in csv "
        "they are written with a ' in front\n"
    ) in err
    labels = {row["prediction"] for row in csv.DictReader(io.StringIO(out))}
    assert labels <= {'\'=HYPERLINK("x")', "-1", "'@b"}
    kept = duckdb.sql(f"select distinct prediction from '{tmp_path / 'p.parquet'}'").fetchall()
    assert {label for (label,) in kept} <= set(risky.classes)


def test_classes_that_differ_in_case_alone_have_a_column_each(tmp_path: Path, nn: Command) -> None:
    bundle.write(tmp_path / "a.nnt", replace(made(), classes=("Yes", "yes", "no")))
    out = tmp_path / "p.parquet"

    assert nn("predict", tmp_path / "a.nnt", PENGUINS.source, "--proba", "-o", out)[0] == 0
    assert duckdb.sql(f"from '{out}'").columns == [
        "prediction", "probability_Yes", "probability_yes_1", "probability_no"
    ]  # fmt: skip


def test_a_table_without_rows_gives_the_header(model: Path, tmp_path: Path, nn: Command) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(lines(PENGUINS.source)[0] + "\n")

    assert nn("predict", model, rows) == (0, "prediction\n", "")


def test_classes_of_numbers_are_numbers_in_python() -> None:
    source = str(TABLES / "digits_500.csv")
    predictor = Predictor(made(Request(source, header(source)[-1])))

    assert predictor.classes_.tolist() == list(range(10))
    assert set(predictor.predict(source).tolist()) <= set(range(10))


def test_a_predictor_follows_the_names_of_scikit_learn() -> None:
    predictor = Predictor(made())

    assert predictor.classes_.tolist() == ["Adelie", "Chinstrap", "Gentoo"]
    assert predictor.feature_names_in_.tolist() == header(PENGUINS.source)[1:]
    assert predictor.n_features_in_ == 7


def test_arrays_and_dicts_are_tables_too() -> None:
    predictor, columns = Predictor(made()), without(read(PENGUINS.source), ["species"])
    expected = predictor.predict(PENGUINS.source).tolist()
    array = np.array(list(columns.values()), object).T

    assert predictor.predict(array).tolist() == expected
    assert predictor.predict(columns).tolist() == expected
    with pytest.raises(DataError, match=r"an array of shape \(3, 2\) was given; rows of 7 columns"):
        predictor.predict(np.zeros((3, 2)))


def test_one_row_predicts_as_it_does_among_others() -> None:
    predictor, columns = Predictor(made()), read(PENGUINS.source)
    together = predictor.predict_proba(columns)

    for row in (0, 100, 343):
        alone = predictor.predict_proba({name: [v[row]] for name, v in columns.items()})
        assert np.abs(alone - together[row]).max() < 1e-6


@pytest.mark.parametrize("name", ["penguins", "hitters", "default"])
def test_evaluate_agrees_with_scikit_learn(name: str, tmp_path: Path, nn: Command) -> None:
    from sklearn import metrics

    request = REQUESTS[name]
    found = made(request)
    bundle.write(tmp_path / "a.nnt", found)

    code, out, _ = nn("evaluate", tmp_path / "a.nnt", request.source, "--json")

    assert code == 0
    values = json.loads(out)
    truth = read(request.source)[found.target]
    known = np.array([cell is not None for cell in truth])
    assert (values["rows"], values["dropped"]) == (known.sum(), (~known).sum())
    y = np.array([cell for cell in truth if cell is not None])
    predictor = Predictor(found)
    predicted = predictor.predict(request.source)[known]
    if found.classes:
        proba = predictor.predict_proba(request.source)[known]
        expected = {
            "log_loss": metrics.log_loss(y, proba, labels=predictor.classes_),
            "accuracy": metrics.accuracy_score(y, predicted),
        }
        if len(found.classes) == 2:
            expected["auc"] = metrics.roc_auc_score(y, proba[:, 1])
    else:
        expected = {
            "rmse": metrics.root_mean_squared_error(y, predicted),
            "mae": metrics.mean_absolute_error(y, predicted),
            "r2": metrics.r2_score(y, predicted),
        }
    for metric, value in expected.items():
        assert values["metrics"][metric] == pytest.approx(value, rel=1e-6), metric


def test_evaluate_prints_a_line_for_each_metric(model: Path, nn: Command) -> None:
    code, out, _ = nn("evaluate", model, PENGUINS.source)

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "rows", "log_loss", "accuracy", "balanced_accuracy", "f1"
    ]  # fmt: skip


def test_a_metric_that_one_row_does_not_define_is_a_dash(tmp_path: Path, nn: Command) -> None:
    bundle.write(tmp_path / "a.nnt", made(REQUESTS["wage"]))
    rows = {name: cells[:1] for name, cells in read(REQUESTS["wage"].source).items()}

    code, out, _ = nn("evaluate", tmp_path / "a.nnt", save(tmp_path / "one.csv", rows))

    assert code == 0
    assert out.splitlines()[-1].split() == ["r2", "-"]


def test_evaluate_says_so_where_the_network_learnt_from_the_rows(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    other = shutil.copy(PENGUINS.source, tmp_path / "other.csv")

    said = [nn("evaluate", model, source)[2] for source in (PENGUINS.source, other)]

    assert "note: the network learnt from rows of a file named penguins.csv; if this is" in said[0]
    assert said[1] == ""


def test_evaluate_needs_the_truth(model: Path, tmp_path: Path, nn: Command) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(Path(PENGUINS.source).read_text().replace("species", "kind"))

    assert nn("evaluate", model, rows)[0] == 3
    assert nn("evaluate", model, rows, "-t", "kind")[0] == 0
    code, _, err = nn("evaluate", model, rows, "-t", "sex")
    assert (code, err) == (2, "nntune: -t sex: the network predicts from this column.\n")


def test_evaluate_refuses_a_class_that_training_did_not_have(
    model: Path, tmp_path: Path, nn: Command
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(Path(PENGUINS.source).read_text().replace("Gentoo", "Emperor"))

    code, _, err = nn("evaluate", model, rows)

    assert code == 3
    assert "class 'Emperor' of column species was not in the training data; the network" in err


def test_the_valid_rows_encode_as_in_the_search() -> None:
    dataset, learnt = load(PENGUINS), load_rows(PENGUINS, "train")

    assert dataset.train.x.tobytes() == learnt.train.x.tobytes()
    assert dataset.valid.x.tobytes() == learnt.valid.x.tobytes()
    assert dataset.fingerprint == learnt.fingerprint


@pytest.mark.parametrize("ending", ["", "\n", "\n\n\n", "\r\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_do_not_change_how_many_rows_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str, ending: str
) -> None:
    rows = tmp_path / "rows.csv"
    text = newline.join(lines(PENGUINS.source))
    rows.write_bytes((text + ending).encode())
    monkeypatch.setattr(parts, "BLOCK", len(text))

    assert len(Predictor(made())._values(rows)) == 344


def test_rows_below_a_crlf_header_are_predicted_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path(PENGUINS.source).read_bytes()
    (tmp_path / "rows.csv").write_bytes(plain.replace(b"\n", b"\r\n", 1).replace(b"0\n", b"0\r\n"))
    monkeypatch.setattr(parts, "BLOCK", 8000)

    found = Predictor(made()).predict(tmp_path / "rows.csv")

    assert list(found) == list(Predictor(made()).predict(PENGUINS.source))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_broken_file_is_a_sentence_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    path = tmp_path / f"rows.{form}"
    if form == "csv":
        path.write_text(Path(PENGUINS.source).read_text().replace("Gentoo,Biscoe", "Gentoo", 1))
    else:
        convert(PENGUINS.source, path)
        data = path.read_bytes()
        broken = data.replace(b'"species":"Gentoo"', b'"species"', 1)
        path.write_bytes(broken if form == "jsonl" else data[: len(data) // 2] + data[-100:])
    monkeypatch.setattr(parts, "BLOCK", 8000)

    place = {
        "csv": ", line 154: 7 values where 8",
        "jsonl": ", line 1",
        "parquet": " is not a whole",
    }
    with pytest.raises(DataError, match=rf"^rows\.{form}{place[form]}"):
        Predictor(made()).predict(path)


def test_unreadable_cells_are_warned_of_in_python() -> None:
    columns = read(PENGUINS.source)
    columns["year"][5] = "never"

    with pytest.warns(UserWarning, match=r"column 'year': 1 unreadable cells \(such as 'never'\)"):
        Predictor(made()).predict(columns)


def test_names_and_labels_may_hold_what_sql_and_csv_take_for_syntax(tmp_path: Path) -> None:
    columns = read(PENGUINS.source)
    odd = {"species": "a\"b'", "island": "x'; drop table part; --", "sex": 'say "no", or {0}'}
    renamed = {odd.get(name, name): cells for name, cells in columns.items()}
    renamed[odd["island"]] = [f"{cell}'\"," for cell in columns["island"]]
    source = save(tmp_path / "rows.csv", renamed)
    predictor = Predictor(made(Request(str(source), odd["species"])))

    expected = Predictor(made())._values(PENGUINS.source)

    assert np.allclose(predictor._values(source), expected, rtol=1e-6)
    for ending in ("parquet", "jsonl"):
        path = convert(str(source), tmp_path / f"rows.{ending}")
        assert np.allclose(predictor._values(path), expected, rtol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_names_with_blanks_around_them_are_those_of_training(tmp_path: Path, ending: str) -> None:
    columns = {f" {name} ": cells for name, cells in read(PENGUINS.source).items()}
    source = save(tmp_path / "rows.csv", columns)
    path = source if ending == "csv" else convert(str(source), tmp_path / f"rows.{ending}")
    predictor = Predictor(made(replace(PENGUINS, source=str(path))))

    expected = Predictor(made())._values(PENGUINS.source)

    assert np.allclose(predictor._values(path), expected, rtol=1e-6)
    assert np.allclose(predictor._values(Frame(columns)), expected, rtol=1e-6)
    assert np.allclose(predictor._values(columns), expected, rtol=1e-6)


def test_dates_may_come_as_dates() -> None:
    predictor, columns = Predictor(made(REQUESTS["nyse"])), read(REQUESTS["nyse"].source)
    dates = {"date": np.array(columns["date"], "datetime64[ns]")}

    assert np.allclose(predictor.predict(columns | dates), predictor.predict(columns), rtol=1e-6)


@pytest.mark.parametrize("asked", [{}, *({role: ("day",)} for role in ASKED)])
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_dates_that_a_file_tells_as_such_are_predicted_as_trained(
    tmp_path: Path, ending: str, asked: dict[str, Any]
) -> None:
    days = [f"2020-{1 + i % 12:02}-{1 + i % 3:02}" for i in range(120)]
    columns = {"day": days, "x": list(range(120)), "y": list("aab" * 40)}
    text = save(tmp_path / "rows.csv", columns)
    path = convert(str(text), tmp_path / f"rows.{ending}")
    request = Request(str(path), "y", **asked)
    predictor, plan = Predictor(made(request)), plan_of(request)
    expected = predictor.scores(plan.encoder.transform(plan.table))

    assert np.array_equal(predictor._values(path), expected)
    assert np.array_equal(predictor._values(text), expected)


def test_dates_of_json_lines_keep_the_format_that_they_were_trained_in(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"day": f"{1 + i % 28:02}-{1 + i % 12:02}-2020", "iso": f"2020-03-{1 + i % 31:02}", "y": i}
        for i in range(120)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    request = Request(str(path), "y")
    predictor, plan = Predictor(made(request)), plan_of(request)

    assert [plan.roles[name].style for name in ("day", "iso")] == ["%d-%m-%Y", "iso"]
    expected = predictor.scores(plan.encoder.transform(plan.table))
    assert np.array_equal(predictor._values(path), expected)
