"""Reading, roles, splits and encoding on small real files and on tables made in code."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from nntune.data import Encoder, Request, column_names, describe, load, load_test, study_name
from nntune.data.delimited import read_delimited
from nntune.data.encoding import scale_of
from nntune.data.files import plain_file
from nntune.data.learning import load as learnt
from nntune.data.reading import read
from nntune.data.splits import split
from nntune.data.table import Numbers, Strings, labels, numbers
from nntune.data.target import column_named
from nntune.errors import DataError
from nntune.families import Grid

HERE = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared" / "data"

TABLES = [  # file, target, rows, columns, task, classes
    ("default_600.csv", "default", 600, 4, "binary", 2),
    ("digits_500.csv", "digit", 500, 65, "multiclass", 10),
    ("hitters.csv", "Salary", 322, 20, "regression", 0),
    ("italy_power_300.csv", "label", 300, 25, "binary", 2),
    ("nyse_600.csv", "log_volume", 600, 6, "regression", 0),
    ("penguins.csv", "species", 344, 8, "multiclass", 3),
    ("wage_400.csv", "wage", 400, 10, "regression", 0),
]
ELSEWHERE = [
    ("bench/adult/adult.csv.gz", "income", 48842, 15, "binary", 2),
    ("bench/ames/ames.csv.gz", "price", 2930, 82, "regression", 0),
    ("bench/abalone/abalone.csv", "rings", 4177, 9, "regression", 0),
    ("bench/bank_additional/bank_additional.csv", "y", 4119, 21, "binary", 2),
    ("bench/beijing_pm25/beijing_pm25.csv.gz", "pm2.5", 43824, 13, "regression", 0),
    ("bench/california_housing/california_housing.csv", "median_house_value", 20640, 10,
     "regression", 0),
    ("bench/caravan/caravan.csv.gz", "Purchase", 5822, 86, "binary", 2),
    ("bench/concrete/concrete.csv", "strength", 1030, 9, "regression", 0),
    ("bench/credit_g/credit_g.csv", "class", 1000, 21, "binary", 2),
    ("bench/energy/energy.csv", "heating_load", 768, 9, "regression", 0),
    ("bench/kr_vs_kp/kr_vs_kp.csv", "class", 3196, 37, "binary", 2),
    ("bench/nasty_adult_raw/nasty_adult_raw.csv.gz", "column14", 48842, 15, "multiclass", 4),
    ("bench/sms_spam/nasty_sms_spam_latin1.csv", "v1", 5572, 5, "binary", 2),
    ("bench/wine_quality_red/wine_quality_red.csv", "quality", 1599, 12, "regression", 0),
    ("ship/penguins/penguins_raw.csv", "Species", 344, 17, "multiclass", 3),
]  # fmt: skip


def put(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def made(rows: int = 100, seed: int = 0) -> str:
    """A table with a number, a category, a gap now and then, and two classes."""
    draw = np.random.default_rng(seed)
    lines = [
        f"{draw.normal():.4f},{['red', 'blue', 'green'][draw.integers(3)]},"
        f"{'' if i % 9 == 0 else draw.integers(50)},{'ab'[draw.integers(2)]}"
        for i in range(rows)
    ]
    return "\n".join(["size,colour,age,y", *lines]) + "\n"


def roles(source: str, target: str, **more: tuple[str, ...]) -> dict[str, str]:
    return {c.name: c.role for c in load(Request(source, target, **more)).columns}


@pytest.mark.parametrize(("file", "target", "rows", "columns", "task", "classes"), TABLES)
def test_real_tables_are_read_whole_and_their_task_is_found(
    file: str, target: str, rows: int, columns: int, task: str, classes: int
) -> None:
    data = load(Request(str(HERE / file), target))
    assert (data.counts["read"], len(data.columns)) == (rows, columns)
    assert (data.task, len(data.classes)) == (task, classes)
    assert data.train.x.dtype == np.float32
    assert data.train.x.flags.c_contiguous
    assert np.isfinite(data.train.x).all()
    assert data.train.x.shape[1] == len(data.features) == sum(c.width for c in data.columns)


@pytest.mark.parametrize(("file", "target", "rows", "columns", "task", "classes"), ELSEWHERE)
def test_tables_that_may_not_be_copied_are_read_whole(
    file: str, target: str, rows: int, columns: int, task: str, classes: int
) -> None:
    if not (SHARED / file).exists():
        pytest.skip("the shared data sets are not on this machine")
    data = load(Request(str(SHARED / file), target))
    assert (data.counts["read"], len(data.columns)) == (rows, columns)
    assert (data.task, len(data.classes)) == (task, classes)


@pytest.mark.parametrize(
    ("name", "task", "rows"),
    [
        ("digits", "multiclass", 1797),
        ("breast_cancer", "binary", 569),
        ("diabetes", "regression", 442),
        ("iris", "multiclass", 150),
        ("wine", "multiclass", 178),
    ],
)
def test_the_data_sets_of_scikit_learn_need_no_file_and_no_target(
    name: str, task: str, rows: int
) -> None:
    data = load(Request(f"sklearn:{name}"))
    assert (data.name, data.task, data.counts["read"]) == (name, task, rows)


def test_the_digits_read_from_their_file_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    table, theirs = read("sklearn:digits"), load_digits()
    assert list(table.columns) == [*theirs.feature_names, "target"]
    columns = [cells for cells in table.columns.values() if isinstance(cells, Numbers)]
    assert np.array_equal(np.transpose([each.values for each in columns]), theirs.data)
    target = table.columns["target"]
    assert isinstance(target, Strings)
    assert [target.levels[code] for code in target.codes] == [str(n) for n in theirs.target]


def test_counts_add_up_and_rows_without_a_target_are_dropped() -> None:
    data = load(Request(str(HERE / "hitters.csv"), "Salary"))
    assert data.counts == {"read": 322, "dropped": 59, "train": 168, "valid": 42, "test": 53}
    assert "59 rows without Salary are dropped" in data.warnings


def test_a_regression_target_is_standardised_and_comes_back_in_its_unit() -> None:
    data = load(Request(str(HERE / "wage_400.csv"), "wage"))
    assert data.train.y.dtype == np.float32
    assert abs(float(data.train.y.mean())) < 1e-6  # float32 of 256 values
    wages = data.train.y * data.target_scale + data.target_mean
    assert 20 < wages.min() < wages.mean() < 150


def test_columns_of_the_penguins_have_their_roles_and_widths() -> None:
    columns = load(Request(str(HERE / "penguins.csv"), "species")).columns
    assert [(c.name, c.role, c.missing, c.width) for c in columns] == [
        ("species", "target", 0, 0),
        ("island", "categorical", 0, 3),
        ("bill_length_mm", "numeric", 2, 18),
        ("bill_depth_mm", "numeric", 2, 18),
        ("flipper_length_mm", "numeric", 2, 18),
        ("body_mass_g", "numeric", 2, 18),
        ("sex", "categorical", 11, 3),
        ("year", "numeric", 0, 3),
    ]


def test_dates_become_parts_and_text_becomes_shares_of_characters() -> None:
    nyse = load(Request(str(HERE / "nyse_600.csv"), "log_volume"))
    parts = [f for f in nyse.features if f.startswith("date ")]
    assert parts == [
        "date time", "date year", "date month", "date day of week", "date day of year"
    ]  # fmt: skip
    text = load(Request(str(HERE / "vader_amazon_500.csv"), "valence"))
    assert "text characters" in text.features


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace(",", ";"),
        lambda t: t.replace(",", "\t"),
        lambda t: t.replace(",", "|"),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\r\n", 1),
        lambda t: t[:-1].replace("\n", "\r\n") + "\n",
        lambda t: "\ufeff" + t,
        lambda t: t.replace(",", " , "),
        lambda t: t.replace("red", '"red"'),
        lambda t: "# made by a machine\n" + t,
        lambda t: t.replace(",", ";").replace(".", ","),
    ],
    ids=[
        "semicolon",
        "tab",
        "bar",
        "crlf",
        "crlf header",
        "lf at the end",
        "bom",
        "blanks",
        "quotes",
        "comment",
        "comma",
    ],
)
def test_the_same_table_written_differently_is_the_same_table(
    tmp_path: Path, change: object
) -> None:
    plain = load(Request(put(tmp_path / "plain.csv", made()), "y"))
    other = load(Request(put(tmp_path / "other.csv", change(made())), "y"))  # type: ignore[operator]
    assert other.features == plain.features
    assert (other.train.x == plain.train.x).all()
    assert (other.valid.y == plain.valid.y).all()


def test_what_describes_a_table_is_true_and_in_lines(tmp_path: Path) -> None:
    rows = [f"id{i},{i * 37 % 100 / 8},{'ab'[i % 2]}" for i in range(150)]
    head = '# made by hand\n"na\nme",x,y\n'
    described = describe(Request(put(tmp_path / "a.csv", head + "\n".join(rows)), "y"))

    text = described.text()

    assert "na␊me   id " in text
    assert text.splitlines()[6].endswith(" a different string in each training row: dropped")
    assert "note: skipped, as no part of the table: the first line of a.csv" in text


def test_a_column_of_bytes_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql("select 'x'::blob b, [1] l, i % 7 x, i % 2 y from range(40) t(i)").write_parquet(
        str(path)
    )
    assert read(str(path)).notes == (
        "column 'b' holds bytes; it is left out",
        "column 'l' holds lists or structures; it is left out",
    )


def test_gzip_and_standard_input_give_the_same_table(tmp_path: Path) -> None:
    plain = load(Request(put(tmp_path / "a.csv", made()), "y"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(made().encode()))
    assert load(Request(str(tmp_path / "b.csv.gz"), "y")).fingerprint == plain.fingerprint
    code = (
        "from nntune.data import Request, load; d = load(Request('-', 'y'));"
        "print(d.name, d.fingerprint)"
    )
    piped = subprocess.run(
        [sys.executable, "-c", code], input=made().encode(), capture_output=True, check=True
    )
    assert piped.stdout.decode().split() == ["stdin", plain.fingerprint]


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Windows-1252"), ("utf-16", "UTF-16")])
def test_other_encodings_are_read_and_named(tmp_path: Path, encoding: str, name: str) -> None:
    text = made().replace("red", "grün")
    data = load(Request(put(tmp_path / "a.csv", text, encoding), "y"))
    assert f"a.csv is not UTF-8; it was read as {name}" in data.warnings
    assert "colour=grün" in data.features


def test_parquet_and_json_lines_give_the_columns_of_the_csv(tmp_path: Path) -> None:
    import duckdb

    source = put(tmp_path / "a.csv", made())
    plain = load(Request(source, "y"))
    for ending, form in (("parquet", "parquet"), ("jsonl", "json")):
        path = tmp_path / f"a.{ending}"
        duckdb.connect().execute(f"copy (from read_csv('{source}')) to '{path}' (format {form})")
        other = load(Request(str(path), "y"))
        assert [(c.name, c.role) for c in other.columns] == [
            (c.name, c.role) for c in plain.columns
        ]
        assert np.allclose(other.train.x, plain.train.x)


def test_moments_with_a_zone_are_the_same_wherever_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    path = tmp_path / "a.parquet"
    moments = "timestamptz '2020-01-01 10:00:00+02' + to_days(i::int)"
    duckdb.sql(f"copy (select {moments} as day from range(3) t(i)) to '{path}'")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    found = read(str(path)).columns["day"]
    monkeypatch.undo()
    time.tzset()
    assert numbers(found)[0] == 1577865600


def test_a_table_without_header_is_named_by_position(tmp_path: Path) -> None:
    rows = "\n".join(f"{i * 0.7:.1f}, w{i % 3}, {['no', 'yes'][i % 2]}" for i in range(40))
    source = put(tmp_path / "a.csv", rows)
    assert column_names(source) == ["column0", "column1", "column2"]
    assert load(Request(source, "column2")).classes == ("no", "yes")
    assert load(Request(source, "2")).fingerprint == load(Request(source, "column2")).fingerprint


@pytest.mark.parametrize("target", ["0", "3"])
def test_a_position_that_stands_in_the_first_row_too_is_no_name(
    tmp_path: Path, target: str
) -> None:
    rows = "\n".join(f"{i % 13},10,{i * 7 % 11},{i % 4}" for i in range(3, 40))
    headerless = read(put(tmp_path / "a.csv", f"5,0,1,3\n{rows}"), target)
    assert (headerless.rows, column_named(headerless, target)) == (38, f"column{target}")
    named = read(put(tmp_path / "b.csv", f"3,a,0,1\n{rows}"), target)
    assert (named.rows, column_named(named, target)) == (37, target)


def test_a_table_of_words_only_has_a_header_unless_the_target_says_otherwise(
    tmp_path: Path,
) -> None:
    source = put(tmp_path / "a.csv", "\n".join(f"{'ab'[i % 2]},{'cde'[i % 3]}" for i in range(40)))
    assert load(Request(source, "column1")).counts["read"] == 40
    assert load(Request(source, "c")).counts["read"] == 39


def test_quotes_that_first_appear_far_down_are_understood(tmp_path: Path) -> None:
    rows = [f"{i * 1.1:.1f},w{i % 3},{'ab'[i % 2]}" for i in range(25_000)]
    source = put(tmp_path / "a.csv", "\n".join(["x,t,y", *rows, '3,"a, b",a']))
    assert read(source).rows == 25_001


def test_words_for_missing_far_down_leave_a_column_of_numbers(tmp_path: Path) -> None:
    rows = [f"{i * 1.1:.1f},{'ab'[i % 2]}" for i in range(25_000)]
    cells = read(put(tmp_path / "a.csv", "\n".join(["x,y", *rows, "NA,a", "?,b"]))).columns["x"]
    assert isinstance(cells, Numbers)
    assert np.isnan(cells.values).sum() == 2


def test_none_and_na_among_strings_are_categories_and_empty_cells_are_missing(
    tmp_path: Path,
) -> None:
    kinds = ["None", "NA", "brick", ""]
    rows = "\n".join(f"{i * 1.5},{kinds[i % 4]},{'ab'[i // 4 % 2]}" for i in range(80))
    source = put(tmp_path / "a.csv", "x,wall,y\n" + rows)
    cells = read(source).columns["wall"]
    assert isinstance(cells, Strings)
    assert cells.levels == ("NA", "None", "brick")
    assert [f for f in load(Request(source, "y")).features if f.startswith("wall")] == [
        "wall=NA", "wall=None", "wall=brick", "wall=(missing)"
    ]  # fmt: skip


def test_a_few_words_in_a_column_of_numbers_are_missing_and_said(tmp_path: Path) -> None:
    rows = "\n".join(f"{'oops' if i == 50 else i * 1.5},{'ab'[i % 2]}" for i in range(200))
    data = load(Request(put(tmp_path / "a.csv", "x,y\n" + rows), "y", seed=1))
    assert {c.name: c.role for c in data.columns}["x"] == "numeric"
    assert "column x: 1 training cells are no numbers ('oops'): missing; " in "".join(data.warnings)


def test_words_with_commas_do_not_say_how_numbers_are_written(tmp_path: Path) -> None:
    rows = [f'"{1 + i % 9},{i * 7 % 1000:03}",{"ab"[i % 2]}' for i in range(90)]
    source = put(tmp_path / "a.csv", "\n".join(["price,y", *rows, "950,a", '"n/a, ask",b']))
    data = load(Request(source, "y"))
    assert data.encoder.features[0].style == "thousands"
    assert 1000 < data.encoder.features[0].scales[0].mean < 9000


def test_infinite_features_count_as_missing_with_a_warning(tmp_path: Path) -> None:
    rows = "\n".join(f"{'inf' if i % 20 == 0 else i * 1.5},{'ab'[i % 2]}" for i in range(200))
    data = load(Request(put(tmp_path / "a.csv", "x,y\n" + rows), "y", bins=0))
    assert "infinite values in x count as missing" in data.warnings
    assert np.isfinite(data.train.x).all()
    assert data.features == ("x", "x missing")


def test_ids_and_constants_are_dropped_but_unique_measurements_are_not(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    unique = draw.permutation(1000)
    rows = "\n".join(
        f"{i + 7},{unique[i] + 1000},c{unique[i]},k,{unique[i]},{'ab'[i % 2]}" for i in range(100)
    )
    source = put(tmp_path / "a.csv", "running,customerId,code,same,weight,y\n" + rows)
    assert roles(source, "y") == {
        "running": "id", "customerId": "id", "code": "id", "same": "constant",
        "weight": "numeric", "y": "target",
    }  # fmt: skip
    kept = roles(source, "y", numeric=("running",), categorical=("same",), ignore=("weight",))
    assert (kept["running"], kept["same"], kept["weight"]) == ("numeric", "categorical", "ignored")


def test_many_categories_are_capped_and_the_rare_share_a_feature(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    city = draw.integers(0, 100, 4000)
    rows = "\n".join(f"c{city[i]},{'ab'[draw.integers(2)]}" for i in range(4000))
    data = load(Request(put(tmp_path / "a.csv", "city,y\n" + rows), "y"))
    assert data.train.x.shape[1] == 65
    assert (data.train.x.sum(axis=1) == 1).all()


def test_unseen_categories_and_missing_values_have_their_place_in_later_rows(
    tmp_path: Path,
) -> None:
    data = load(Request(put(tmp_path / "a.csv", made(300)), "y"))
    encoder = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    assert encoder == data.encoder
    later = read(put(tmp_path / "b.csv", "age,colour,size\n,violet,\n30,red,1e9\n"))
    x = dict(zip(encoder.names, encoder.transform(later).T, strict=True))
    assert [float(x[f"colour={c}"][0]) for c in ("blue", "green", "red")] == [0, 0, 0]
    assert (x["age missing"].tolist(), float(x["size"][1])) == ([1, 0], 10)
    assert float(x["size"][0]) == pytest.approx(data.encoder.features[0].median)


def test_the_encoder_sees_training_rows_only(tmp_path: Path) -> None:
    text = made(200)
    before = load(Request(put(tmp_path / "a.csv", text), "y"))
    lines = text.splitlines()
    train = {tuple(row) for row in before.train.x.tolist()}
    seen = before.encoder.transform(read(str(tmp_path / "a.csv")))
    for i, row in enumerate(seen.tolist()):
        if tuple(row) not in train:
            lines[i + 1] = "oops,violet,1e9," + lines[i + 1][-1]
    after = load(Request(put(tmp_path / "b.csv", "\n".join(lines)), "y"))
    assert lines != text.splitlines()
    assert after.encoder.to_dict() == before.encoder.to_dict()
    assert (after.train.x == before.train.x).all()


def test_splits_are_disjoint_whole_stratified_and_fixed_by_the_seed(tmp_path: Path) -> None:
    rows = "\n".join(f"{i}.5,{'abbbb'[i % 5]}" for i in range(500))
    source = put(tmp_path / "a.csv", "x,y\n" + rows)
    data, test = load(Request(source, "y")), load_test(Request(source, "y"))
    mean, sd = data.encoder.features[0].scales[0].mean, data.encoder.features[0].scales[0].sd
    values = [np.round(s.x[:, 0] * sd + mean, 1) for s in (data.train, data.valid, test)]
    assert sorted(np.concatenate(values).tolist()) == [i + 0.5 for i in range(500)]
    assert [len(v) for v in values] == [320, 80, 100]
    assert [int((s.y == 0).sum()) for s in (data.train, data.valid, test)] == [64, 16, 20]
    assert (load(Request(source, "y")).train.x == data.train.x).all()
    assert not (load(Request(source, "y", seed=1)).train.x == data.train.x).all()


def test_the_split_of_a_seed_never_changes() -> None:
    parts = split(np.arange(20), None, 0, (0.16, 0.2))
    assert (parts.valid.tolist(), parts.test.tolist()) == ([3, 11, 13], [1, 2, 15, 18])
    assert load(Request("sklearn:iris")).fingerprint[:16] == "f12871de6225f6aa"


def test_files_for_validation_and_test_are_used_as_they_are(tmp_path: Path) -> None:
    main, extra = put(tmp_path / "a.csv", made(200)), put(tmp_path / "b.csv", made(30, seed=1))
    data = load(Request(main, "y", test=extra))
    assert data.counts == {"read": 200, "dropped": 0, "train": 160, "valid": 40, "test": 30}
    both = load(Request(main, "y", valid=extra, test=extra))
    assert (both.counts["train"], both.counts["valid"]) == (200, 30)
    assert len(load_test(Request(main, "y", valid=extra, test=extra)).x) == 30
    assert both.split_summary["files"] == {"valid": "b.csv", "test": "b.csv"}


def test_cells_of_other_files_are_read_as_those_of_the_first(tmp_path: Path) -> None:
    lines = [f"0123{i % 3},{i * 0.5},{'ab'[i % 2]}" for i in range(60)]
    main = put(tmp_path / "a.csv", "\n".join(["zip,x,y", *lines]))
    later = put(tmp_path / "b.csv", "\n".join(["zip,x,y", "K1A 0B1,1,a", *lines[:9]]))
    request = Request(main, "y", categorical=("zip",), valid=later, test=later)
    data = load(request)
    zips = [place for place, name in enumerate(data.features) if name.startswith("zip")]
    for part in (data.valid, load_test(request)):
        assert part.x[:, zips].sum(1).tolist() == [0, *[1] * 9]
        assert part.x[1:, zips].argmax(1).tolist() == [0, 1, 2] * 3


def test_dates_of_several_files_are_learnt_as_dates(tmp_path: Path) -> None:
    days = [f"{1 + i % 28:02}.{1 + i % 12:02}.2020" for i in range(60)]
    lines = [f"{day},{i % 7},{'ab'[i % 2]}" for i, day in enumerate(days)]
    main, other = (
        put(tmp_path / name, "\n".join(["when,x,y", *lines])) for name in ("a.csv", "b.csv")
    )
    typed = tmp_path / "b.parquet"
    duckdb.sql(
        f'copy (select strptime("when", \'%d.%m.%Y\')::date as "when", x, y '
        f"from read_csv('{main}', all_varchar=true)) to '{typed}' (format parquet)"
    )
    text = learnt(Request(main, "y", test=other), "all")
    assert np.array_equal(learnt(Request(main, "y", test=str(typed)), "all").train.x, text.train.x)


def test_arrays_keep_their_own_test_rows_and_know_that_they_are_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (90, 4, 4), np.uint8), np.arange(90) % 3
    path = str(tmp_path / "a.npz")
    np.savez(path, X_train=x[:60], y_train=y[:60], X_test=x[60:], y_test=y[60:])
    data = load(Request(path))
    assert data.counts == {"read": 60, "dropped": 0, "train": 48, "valid": 12, "test": 30}
    assert data.grid == Grid(1, (4, 4))
    assert load_test(Request(path)).x.shape == (30, 16)


def test_the_fingerprint_follows_the_content_not_the_path(tmp_path: Path) -> None:
    first = load(Request(put(tmp_path / "a.csv", made()), "y"))
    again = load(Request(put(tmp_path / "b.csv", made()), "y"))
    assert again.fingerprint == first.fingerprint
    changed = made().replace("red", "pink", 1)
    others = [
        Request(put(tmp_path / "c.csv", changed), "y"),
        Request(str(tmp_path / "a.csv"), "y", seed=1),
        Request(str(tmp_path / "a.csv"), "y", ignore=("age",)),
        Request(str(tmp_path / "a.csv"), "colour"),
    ]
    assert len({first.fingerprint, *(load(r).fingerprint for r in others)}) == 5


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([i % 10 for i in range(200)], "multiclass"),
        ([i % 3 for i in range(200)], "multiclass"),
        ([3 + min(i % 7, 5) for i in range(200)], "regression"),
        ([i % 40 for i in range(200)], "regression"),
        ([0] * 100 + [1] * 60 + [2] * 30 + [3] * 10, "regression"),
        ([1] * 90 + [2] * 10 + [3] * 20 + [4] * 10 + [5] * 70, "multiclass"),
        ([-1 + 2 * (i % 2) for i in range(200)], "binary"),
        ([i / 2 for i in range(200)], "regression"),
    ],
)
def test_whole_numbers_are_classes_only_where_they_name_things(
    tmp_path: Path, values: list[float], task: str
) -> None:
    draw = np.random.default_rng(0)
    rows = "\n".join(f"{draw.normal():.4f},{v}" for v in values)
    assert load(Request(put(tmp_path / "a.csv", "x,y\n" + rows), "y")).task == task


def test_the_task_asked_for_overrules(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", "x,y\n" + "\n".join(f"{i}.5,{i % 4}" for i in range(100)))
    assert load(Request(source, "y", task="regression")).task == "regression"
    assert load(Request(source, "y", task="multiclass")).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("values", [["1,0", "1,3", "2,7"], ["0,5", "1,5"], ["1,000", "2,500"]])
def test_classes_are_called_as_the_file_spells_them(tmp_path: Path, values: list[str]) -> None:
    rows = "\n".join(f"{i * 0.7:.1f};{values[i % len(values)]}" for i in range(60))
    source = put(tmp_path / "a.csv", "x;y\n" + rows)
    task = "binary" if len(values) == 2 else "multiclass"
    assert load(Request(source, "y", task=task)).classes == tuple(values)
    assert len(load_test(Request(source, "y", task=task)).y) == 12


def warned(tmp_path: Path, rows: list[str], header: str) -> str:
    source = put(tmp_path / "a.csv", "\n".join([header, *rows]))
    return "\n".join(load(Request(source, "y")).warnings)


def test_columns_that_give_the_target_away_are_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal(size=(200, 3)).round(4)
    copied = [f"{a},{np.exp(b):.6f},{b}" for a, b, _ in draw]
    assert "column z gives y away" in warned(tmp_path, copied, "x,z,y")
    summed = [f"{a},{b},{c},{a + b:.4f}" for a, b, c in draw]
    assert "columns added up give y almost exactly" in warned(tmp_path, summed, "u,v,w,y")
    coded = [f"{a},{'pq'[i % 2]},{'ab'[i % 2]}" for i, (a, _, _) in enumerate(draw)]
    assert "column z gives y away" in warned(tmp_path, coded, "x,z,y")
    twice = [f"{'pq'[i % 2]},{'rs'[i % 2]},{'ab'[i % 2]}" for i in range(200)]
    assert "each of the columns x, z gives y away" in warned(tmp_path, twice, "x,z,y")
    honest = [f"{a},{b},{'ab'[i % 2]}" for i, (a, b, _) in enumerate(draw)]
    assert warned(tmp_path, honest, "x,z,y") == ""


def test_near_identical_labels_rare_classes_repeats_and_time_order_are_warned_of(
    tmp_path: Path,
) -> None:
    labels = ["yes", "no", "Yes.", "no"]
    spelled = [f"{i % 60}.5,{labels[i % 4]}" for i in range(120)]
    assert "'Yes.' and 'yes' are different classes of y" in warned(tmp_path, spelled, "x,y")
    assert "60 rows repeat an earlier row (50%)" in warned(tmp_path, spelled, "x,y")
    rare = [f"{i}.5,{'a' if i % 20 == 0 else 'b'}" for i in range(200)]
    assert "only 4.7% of the training rows are 'a'" in warned(tmp_path, rare, "x,y")
    days = [f"2020-0{1 + i // 28}-{1 + i % 28:02},{'ab'[i * i % 7 % 2]}" for i in range(112)]
    assert "rows are in order of day" in warned(tmp_path, days, "day,y")


@pytest.mark.parametrize("flag", ["valid", "test"])
def test_columns_of_another_file_hold_what_those_of_the_first_do(tmp_path: Path, flag: str) -> None:
    days = [f"2020-{1 + i % 12:02}-{1 + i % 27:02}" for i in range(200)]
    rows = [f"{i * 7 % 31}.5,{day},{'ab'[i % 3 % 2]}" for i, day in enumerate(days)]
    first = put(tmp_path / "a.csv", "\n".join(["x,day,y", *rows]))

    def other(cells: list[str]) -> Request:
        file = put(tmp_path / "b.csv", "\n".join(["x,day,y", *cells]))
        return Request(first, "y", **{flag: file})  # type: ignore[arg-type]

    slip = load(other(["abc,2020-01-01,a", *(f"{i}.25,2021-03-05,b" for i in range(30))])).warnings
    assert "b.csv: column 'x': 1 unreadable cells (such as 'abc') count as missing" in slip
    for cells, name, what, example in (
        (["1.5 km,2020-01-01,a"] * 30, "x", "numbers", "1.5 km"),
        (["1.5,31.12.2020,a"] * 30, "day", "dates", "31.12.2020"),
    ):
        with pytest.raises(DataError) as caught:
            load(other(cells))
        assert str(caught.value) == (
            f"column {name!r} of b.csv should hold {what}, as in training; 30 of 30 cells do not, "
            f"such as {example!r}"
        )


def test_rows_of_another_file_that_were_learnt_from_are_counted(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        f"{i},{x},{'abc'[i % 3]},{'yes' if draw.random() < 0.5 else 'no'}"
        for i, x in enumerate(draw.normal(size=300).round(3))
    ]
    header = "id,x,word,y"

    def notes(first: list[str], **files: list[str]) -> list[str]:
        paths = {
            name: put(tmp_path / f"{name}.csv", "\n".join([header, *lines]))
            for name, lines in {"a": first, **files}.items()
        }
        found = load(Request(paths.pop("a"), "y", **paths)).warnings
        return [note for note in found if " too: " in note]

    fresh = rows[200:]
    assert notes(rows[:200], test=fresh) == []
    assert notes(rows[:200], valid=rows[200:250], test=rows[250:]) == []
    # Other ids and another order, numbers in another spelling, a category of its own.
    cells = [line.split(",") for line in reversed(rows[:60])]
    copied = [f"9{number},{x}0,{word},{y}" for number, x, word, y in cells]
    known = "of the 101 test rows of test.csv are rows of a.csv too"
    assert known in notes(rows[:200], test=[*copied, *fresh[:40], "0,0.5,z,no"])[0]
    assert "of the 60 validation rows of valid.csv are rows of a.csv too" in notes(
        rows[:200], valid=copied, test=fresh
    )[0]  # fmt: skip
    assert "60 of the 60 test rows of test.csv are rows of valid.csv too" in notes(
        rows[60:200], valid=rows[:60], test=copied
    )[0]  # fmt: skip
    # Where rows of one table are alike by nature, so are those of two.
    alike = [f"{i},{i % 2},{'abc'[i % 3]},{'yes' if i % 5 else 'no'}" for i in range(300)]
    assert notes(alike[:200], test=alike[200:]) == []


def test_what_the_splits_heed_is_not_warned_of(tmp_path: Path) -> None:
    rows = [
        f"2020-0{1 + i // 28}-{1 + i % 28:02},{i * 7 % 20},{i * i % 23}.5,{'ab'[i * i % 7 % 2]}"
        for i in range(112)
    ]
    text = "\n".join(["day,user_id,x,y", *rows])
    source, other = (put(tmp_path / name, text) for name in ("a.csv", "b.csv"))

    def doubts(**asked: Any) -> str:
        return "\n".join(load(Request(source, "y", **asked)).warnings)

    assert "; --time-col day tests on the latest rows" in doubts()
    assert "; --group-col user_id keeps them together" in doubts()
    assert "in order" not in doubts(time="day")
    assert "group" not in doubts(group="user_id")
    assert "in order" not in doubts(valid=other, test=other)


def test_the_description_says_what_was_understood_and_is_plain_for_json() -> None:
    request = Request(str(HERE / "penguins.csv"), "species")
    description = describe(request)
    assert dict(description.classes) == {"Adelie": 152, "Chinstrap": 68, "Gentoo": 124}
    assert json.loads(json.dumps(description.values(), allow_nan=False))["task"] == "multiclass"
    lines = description.text().splitlines()
    assert lines[:4] == [
        "task      multiclass, target species",
        "classes   Adelie (152), Chinstrap (68), Gentoo (124)",
        "rows      read 344, dropped 0, train 220, valid 55, test 69",
        "features  15, and 66 bins of numbers",
    ]


def test_a_wide_table_is_described_by_role_and_a_table_without_target_by_column(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "a.npz", X=np.random.default_rng(0).normal(size=(30, 12, 12)),
             y=np.arange(30) % 2)  # fmt: skip
    assert "x0 ... x143" in describe(Request(str(tmp_path / "a.npz"))).text()
    plain = describe(Request(str(HERE / "penguins.csv")))
    assert (plain.task, plain.counts) == ("", {"read": 344})


def test_names_of_studies_and_columns_are_cheap() -> None:
    code = (
        "import sys; from nntune.data import Request, study_name; study_name('a.csv');"
        "assert not {'numpy', 'duckdb', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert study_name("data/adult.csv.gz") == "adult"
    assert column_names(str(HERE / "hitters.csv"))[:2] == ["AtBat", "Hits"]


def test_reading_a_file_loads_neither_sklearn_nor_torch_nor_pandas() -> None:
    code = (
        "import sys; from nntune.data import Request, load;"
        f"load(Request({str(HERE / 'hitters.csv')!r}, 'Salary'));"
        "assert not {'sklearn', 'torch', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_array_file_in_memory_is_never_unpickled(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, X=np.array([[print]], object), y=np.zeros(1), allow_pickle=True)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(Exception, match="never opened"):
        load(Request(str(tmp_path / "a.npz")))


def test_a_number_too_large_to_square_is_far_out() -> None:
    huge = np.array([0.0, 1.0, 2.0, 7e155])

    np.testing.assert_allclose(
        scale_of(huge).apply(huge), [-0.577350, -0.577350, -0.577350, 1.732051], rtol=1e-5
    )
    assert scale_of(np.array([1.7e308, -1.7e308])).apply(huge)[0] == 0


def test_numbers_of_a_tiny_unit_are_standardised() -> None:
    values = np.arange(9.0)
    np.testing.assert_allclose(
        scale_of(1e-12 * values).apply(1e-12 * values), scale_of(values).apply(values), rtol=1e-9
    )


@pytest.mark.parametrize("offset", [1.0, 1e13, 1.7e15, -9e15])
def test_numbers_far_from_zero_are_standardised(offset: float) -> None:
    values = np.arange(9.0) * (1e-9 if offset == 1 else 1)

    scaled = scale_of(offset + values).apply(offset + values)

    np.testing.assert_allclose(scaled, scale_of(values).apply(values), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([*range(1, 25)] * 5, "whole numbers up to 24"),
        ([*range(5, 9)] * 30, "whole numbers from 5 on"),
        ([1, 2, 3] * 40 + [4] * 4, "whole numbers of which some are rare"),
        ([*range(65)] * 3, ""),
        ([*range(60)] * 2 + [60], ""),
        ([0.5, 1, 2, 3] * 30, ""),
    ],
)
def test_whole_numbers_that_may_be_classes_say_why_they_are_none(
    values: list[float], why: str, tmp_path: Path
) -> None:
    rows = [f"{i * 7 % 11},{value}" for i, value in enumerate(values)]
    source = put(tmp_path / "a.csv", "\n".join(["x,y", *rows]))

    found = {column.name: column.note for column in describe(Request(source, "y")).columns}

    meant = f"{why}, read as a quantity; --task multiclass reads them as classes"
    assert found["y"] == (meant if why else "numbers")


@pytest.mark.parametrize("request_", [{}, {"target": "y"}, {"target": "y", "time": "d"}])
@pytest.mark.parametrize(("last", "is_unclear"), [("12", True), ("13", False)])
def test_dates_whose_days_may_be_months_are_noted(
    request_: dict[str, str], last: str, is_unclear: bool, tmp_path: Path
) -> None:
    rows = [f"{1 + i % 12:02}/{1 + i % 11:02}/2020,{i % 5},{i * 7 % 11}" for i in range(99)]
    source = put(tmp_path / "a.csv", "\n".join(["d,x,y", *rows, *[f"{last}/03/2020,1,1"] * 20]))

    notes = [note for note in describe(Request(source, **request_)).warnings if "read as" in note]

    expected = (
        "column d: 01/02/2020 is read as 1 February 2020; if it is January 2, write such dates as "
        "2020-01-02"
    )
    assert notes == [expected] * is_unclear


def large_numbers(folder: Path) -> list[Path]:
    """A table of whole numbers of 18 digits, with a gap among the categories, in several forms."""
    base = 900_000_000_000_000_000
    rows = [(i % 7, base + i % 3 if i % 10 else None, base + i // 5, base + i % 2 * 7)
            for i in range(120)]  # fmt: skip
    names = ["a", "code", "shop", "y"]
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    (folder / "a.csv").write_text("\n".join(map(",".join, [names, *cells])))
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(lines))
    duckdb.sql(f"copy (from read_csv('{folder}/a.csv')) to '{folder}/a.parquet' (format parquet)")
    return [folder / f"a.{ending}" for ending in ("csv", "jsonl", "parquet")]


def test_whole_numbers_of_18_digits_that_name_something_are_told_apart(tmp_path: Path) -> None:
    for path in large_numbers(tmp_path):
        request = Request(str(path), "y", categorical=("code",), group="shop")
        data, found = load(request), describe(request)

        assert data.classes == ("900000000000000000", "900000000000000007")
        assert [column.distinct for column in found.columns] == [7, 3, 24, 2]
        assert data.features[1:5] == (
            "code=900000000000000000", "code=900000000000000001", "code=900000000000000002",
            "code=(missing)",
        )  # fmt: skip
        assert data.fingerprint[:12] == "ac64923af00f"


def test_whole_numbers_that_rounding_merges_are_described_so(tmp_path: Path) -> None:
    path = large_numbers(tmp_path)[0]
    found = describe(Request(str(path), "a", categorical=("code",))).columns[2]
    note = "24 whole numbers, 1 when rounded to 16 digits; --categorical tells all apart"
    assert (found.role, found.distinct, found.note) == ("constant", 24, note)
    same = "column y of a.csv is 9e\\+17 in every row but for digits that a number has no room for"
    with pytest.raises(DataError, match=same):
        load(Request(str(path), "y", task="regression"))
    ids = [f"{i % 5},{10**18 + i},{i * 7 % 11}" for i in range(100)]
    put(tmp_path / "ids.csv", "\n".join(["a,id,y", *ids]))
    assert describe(Request(str(tmp_path / "ids.csv"), "y")).columns[1].role == "id"


def test_nanoseconds_as_numbers_keep_their_fingerprint(tmp_path: Path) -> None:
    rows = [f"{1_700_000_000_000_000_000 + i * i * 10**12},{i % 7}" for i in range(100)]
    data = load(Request(put(tmp_path / "ns.csv", "\n".join(["t,y", *rows])), "y"))
    assert data.columns[0].role == "numeric"
    assert data.fingerprint[:12] == "f4ef8528194e"  # as float64 always had it


def test_the_fingerprint_of_large_categories_changes_with_their_order_alone(tmp_path: Path) -> None:
    found = []
    for codes in ((10**17, 2 * 10**17), (15 * 10**16, 10**17)):  # 1.5e+17 came before 1e+17
        rows = [f"{codes[i % 2]},{i % 7},{i * 3 % 11}" for i in range(100)]
        source = put(tmp_path / "a.csv", "\n".join(["code,x,y", *rows]))
        found.append(load(Request(source, "y", categorical=("code",))).fingerprint[:12])
    assert found[0] == "689b7157017e"  # as when categories were spelled as float64
    assert found[1] != "af6e1b64ed3a"


def test_an_array_keeps_the_digits_of_whole_numbers(tmp_path: Path) -> None:
    y = 9 * 10**17 + np.arange(60) % 3
    x = np.column_stack([np.arange(60) % 7, y])
    np.savez(tmp_path / "a.npz", X=x, y=y)

    found = describe(Request(str(tmp_path / "a.npz"), task="multiclass", categorical=("x1",)))

    assert dict(found.classes) == {str(9 * 10**17 + k): 20 for k in range(3)}
    assert found.columns[1].distinct == 3


def test_numbers_that_differ_by_rounding_alone_have_no_spread() -> None:
    for constant in (np.full(9, 0.1), np.full(1000, 1e14 / 3), np.array([0.3, 0.1 + 0.2] * 9)):
        assert scale_of(constant).sd == 1


def test_a_table_of_long_lines_is_understood_from_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nntune.data.delimited._LONG", 1000)
    count, rows = 300, 160
    lines = [",".join(["kind", "late", *(f"number {i}" for i in range(count))])]
    for row in range(rows):
        late = "word" if row == rows - 1 else str(row)
        lines.append(",".join(["ab"[row % 2], late, *(str(i * row) for i in range(count))]))
    (tmp_path / "wide.csv").write_text("\n".join(lines))

    table = read(str(tmp_path / "wide.csv"))

    assert len(table.columns) == count + 2
    assert table.rows == rows
    assert labels(table.columns["late"]).levels[-1] == "word"
    np.testing.assert_allclose(
        numbers(table.columns[f"number {count - 1}"], "point"), (count - 1) * np.arange(rows)
    )


def test_temporary_files_that_are_removed_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(tmp_path / "a.csv", "x,y\n1,2\n")

    def read_without_them() -> None:
        with plain_file(source) as plain:
            shutil.rmtree(plain.parent)
            read_delimited(plain, "a.csv")

    with pytest.raises(DataError, match="were removed while nntune ran"):
        read_without_them()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(DataError, match="none were removed while nntune ran"):
        read(source)
