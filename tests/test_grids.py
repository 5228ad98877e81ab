"""Images, series and rows in time: how columns become a grid, and what is never looked at."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bundle import made

from nntune.bundle import Predictor
from nntune.bundle.checks import plain
from nntune.bundle.evaluation import evaluate
from nntune.data import Request, describe, load, load_test, read
from nntune.data.learning import load as learnt
from nntune.data.table import numbers
from nntune.errors import DataError, UsageError
from nntune.families import Grid


def arrays(path: Path, x: np.ndarray, y: np.ndarray | None = None) -> str:
    np.savez(path, X=x, y=np.arange(len(x)) % 2 if y is None else y)
    return str(path)


def pixels(path: Path, rows: int = 40, columns: int = 12) -> str:
    draw = np.random.default_rng(0)
    names = ",".join(["label", *(f"p{i}" for i in range(columns))])
    body = draw.integers(0, 256, (rows, columns))
    lines = [f"{'ab'[i % 2]},{','.join(map(str, row))}" for i, row in enumerate(body)]
    path.write_text("\n".join([names, *lines]) + "\n")
    return str(path)


def forecast(path: Path, rows: int = 60, shuffled: bool = False) -> str:
    """Row t has day t, y = t and z = 10 t."""
    lines = [f"2020-01-01T{t // 60:02}:{t % 60:02},{t},{10 * t},{'ab'[t % 2]}" for t in range(rows)]
    if shuffled:
        lines = [lines[i] for i in np.random.default_rng(1).permutation(rows)]
    path.write_text("\n".join(["when,y,z,day", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((8, 8), Grid(1, (8, 8))),
        ((6, 5, 3), Grid(3, (6, 5))),
        ((3, 6, 5), Grid(3, (6, 5))),
        ((2, 30), Grid(2, (30,))),
    ],
)
def test_an_array_says_by_its_shape_what_its_examples_are(tmp_path, shape, grid) -> None:
    source = arrays(tmp_path / "a.npz", np.random.default_rng(0).random((40, *shape)))
    assert load(Request(source)).grid == grid


def test_colours_of_a_pixel_become_planes(tmp_path: Path) -> None:
    x = np.zeros((40, 5, 6, 3))
    x[::2, 2, 4, 1] = 1.0
    dataset = load(Request(arrays(tmp_path / "a.npz", x)))
    plane = dataset.train.x.reshape(-1, 3, 5, 6)
    assert np.ptp(plane[:, 1, 2, 4]) > 0
    plane[:, 1, 2, 4] = 0
    assert np.ptp(plane[:, 0]) == np.ptp(plane[:, 2]) == 0


def test_every_channel_has_one_scale_learnt_from_training_rows(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(5, 2, (60, 2, 9))
    x[:, 1] *= 1e-9
    train = load(Request(arrays(tmp_path / "a.npz", x))).train.x.reshape(-1, 2, 9)
    np.testing.assert_allclose(train.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std((0, 2)), 1, atol=1e-5)


def test_what_is_learnt_again_has_the_grid_with_folds_and_without(tmp_path: Path) -> None:
    source = arrays(tmp_path / "a.npz", np.random.default_rng(0).random((40, 8, 8)))
    for cv in (None, 3):
        for rows in ("train", "train+valid", "all"):
            assert learnt(Request(source, cv=cv), rows).grid == Grid(1, (8, 8))


def test_pixels_that_never_change_stay(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    x[:, 0] = 0
    assert load(Request(arrays(tmp_path / "a.npz", x))).train.x.shape[1] == 64


def test_series_that_end_early_say_so_beside_each_step(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 1, 20))
    x[::3, 0, 15:] = np.nan
    dataset = load(Request(arrays(tmp_path / "a.npz", x)))
    assert dataset.grid == Grid(1, (20,), has_gaps=True)
    pairs = dataset.train.x.reshape(-1, 20, 2)
    ends = pairs[:, 19, 1] == 1
    assert 0 < ends.sum() < len(ends)
    assert (pairs[ends, 15:, 0] == 0).all()
    assert (pairs[~ends, :, 1] == 0).all()


def series(path: Path, longest: int) -> str:
    """Series of at most so many steps in a table of 20."""
    x = np.random.default_rng(longest).normal(size=(40, longest)).round(3).astype(str).tolist()
    cut = [row[: longest - i % 3] for i, row in enumerate(x)]
    rows = [",".join([str(i % 2), *row, *[""] * (20 - len(row))]) for i, row in enumerate(cut)]
    path.write_text("\n".join([",".join(["y", *(f"t{i}" for i in range(20))]), *rows]) + "\n")
    return str(path)


def test_steps_that_no_series_of_training_reaches_are_empty(tmp_path: Path) -> None:
    short, long = series(tmp_path / "short.csv", 15), series(tmp_path / "long.csv", 20)
    request = Request(short, "y", series=True, test=long)
    dataset = load(request)
    pairs = load_test(request).x.reshape(-1, 20, 2)

    assert dataset.grid == Grid(1, (20,), has_gaps=True)
    assert (dataset.train.x.reshape(-1, 20, 2)[:, 15:] == [0, 1]).all()
    assert pairs[:, 19, 1].tolist() == [float(i % 3 > 0) for i in range(40)]
    assert np.abs(pairs[::3, 15:, 0]).min() > 0
    words = Path(short).read_text().replace(",,\n", ",,x\n")
    (tmp_path / "words.csv").write_text(words)
    with pytest.raises(DataError, match=r"column 't19' of words\.csv holds no numbers, as a step"):
        load(Request(str(tmp_path / "words.csv"), "y", series=True))
    with pytest.raises(
        DataError, match=r"column 't15' of short\.csv is empty in every row; --ignore"
    ):
        load(Request(short, "y", image="4x5"))


def test_lengths_beside_an_array_mean_the_same(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2, 20))
    lengths = np.where(np.arange(40) % 3, 20, 15)
    np.savez(tmp_path / "a.npz", X=x, y=np.arange(40) % 2, lengths=lengths)
    cut = x.copy()
    cut[::3, :, 15:] = np.nan
    theirs = load(Request(arrays(tmp_path / "b.npz", cut)))
    ours = load(Request(str(tmp_path / "a.npz")))
    assert ours.grid == theirs.grid == Grid(2, (20,), has_gaps=True)
    assert np.array_equal(ours.train.x, theirs.train.x)


def test_columns_of_a_table_are_pixels_on_request(tmp_path: Path) -> None:
    source = pixels(tmp_path / "p.csv")
    assert load(Request(source, "label", image="3x4")).grid == Grid(1, (3, 4))
    planes = load(Request(source, "label", image="2x2x3"))
    assert planes.grid == Grid(3, (2, 2))
    assert planes.features == tuple(f"p{i}" for i in (0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11))
    assert load(Request(source, "label", image="3x2x2")).features == tuple(
        f"p{i}" for i in (0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)
    )


def test_columns_of_a_table_are_a_series_on_request(tmp_path: Path) -> None:
    source = pixels(tmp_path / "p.csv")
    found = describe(Request(source, "label", series=True))
    assert found.grid == Grid(1, (12,))
    assert "features  12: series of 12 steps" in found.text()


@pytest.mark.parametrize("form", [{}, {"image": "2x3"}, {"series": True}])
def test_a_step_that_tells_the_class_is_no_leak(form, tmp_path: Path) -> None:
    rows = [
        ",".join(map(str, [i % 2, *(i * k % 7 for k in range(1, 6)), i % 2])) for i in range(60)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["y,p0,p1,p2,p3,p4,p5", *rows]))

    notes = describe(Request(str(tmp_path / "a.csv"), "y", **form)).warnings

    assert any("p5 gives y away" in note for note in notes) == (not form)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image": "4x4"}, "--image 4x4 takes 16 columns, and p.csv has 12 beside the target"),
        ({"image": "12"}, "--image 12: write height x width, such as 28x28"),
        ({"image": "0x12"}, "--image 0x12: write height x width, such as 28x28"),
        ({"time": "label"}, "--time-col label is the target; name the column of the time"),
        (
            {"target": "p0", "time": "label"},
            "column 'label' of p.csv holds words, such as 'a'; rows are ordered by dates or",
        ),
        ({"lags": 40}, "--lags 40: p.csv has 40 rows to look back at"),
        ({"lags": 2, "cv": 3}, "--lags splits rows by time and --cv does otherwise"),
        ({"lags": 2, "series": True}, "--lags makes a series and --series does otherwise"),
    ],
)
def test_a_grid_that_cannot_be_is_one_sentence(tmp_path, changes, sentence) -> None:
    source = pixels(tmp_path / "p.csv")
    with pytest.raises((UsageError, DataError)) as caught:
        load(Request(**{"source": source, "target": "label", **changes}))
    assert sentence in str(caught.value)


def test_rows_are_split_by_time_and_no_moment_is_cut(tmp_path: Path) -> None:
    lines = [f"{t // 3},{t},{t % 7}" for t in range(120)]
    mixed = [lines[i] for i in np.random.default_rng(0).permutation(120)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["when,y,x", *mixed]))
    request = Request(str(path), "y", "regression", time="when")
    dataset, test = load(request), load_test(request)
    mean, scale = dataset.target_mean, dataset.target_scale
    train, valid, last = (
        np.rint(part.y * scale + mean).astype(int) // 3
        for part in (dataset.train, dataset.valid, test)
    )
    assert train.max() < valid.min() <= valid.max() < last.min()
    assert [len(train), len(valid), len(last)] == [75, 21, 24]
    assert "when" not in dataset.features


@pytest.mark.parametrize("shuffled", [False, True])
def test_lags_are_the_rows_before_whatever_the_order_of_the_file(tmp_path, shuffled) -> None:
    source = forecast(tmp_path / "f.csv", shuffled=shuffled)
    dataset = load(Request(source, "y", "regression", time="when", lags=3))
    assert dataset.grid == Grid(2, (3,))
    assert dataset.features == (
        "y -3", "y -2", "y -1", "z -3", "z -2", "z -1", "day=a", "day=b",
    )  # fmt: skip
    assert dataset.counts["dropped"] == 3
    y = np.rint(dataset.train.y * dataset.target_scale + dataset.target_mean)
    scale = dataset.encoder.features[2].scales[0]
    before = np.rint(dataset.train.x[:, 2] * scale.sd + scale.mean)
    assert np.array_equal(before, y - 1)


def test_nothing_of_a_row_but_what_is_known_before_it_is_a_feature(tmp_path: Path) -> None:
    request = Request(forecast(tmp_path / "f.csv"), "y", "regression", time="when", lags=2)
    roles = {column.name: (column.role, column.note) for column in load(request).columns}
    assert roles["z"] == ("ignored", "its past is used")
    assert roles["when"] == ("ignored", "orders the rows")
    assert roles["day"][0] in ("boolean", "categorical")


@pytest.mark.parametrize(
    ("cell", "note"),
    [
        (lambda t: f"{t},25", "its past is used"),
        (lambda t: "error" if t == 50 else f"{t}.25", "its past is used"),
        (lambda t: "error" if t > 50 else f"{t}.25", "its numbers are not known before the row"),
    ],
)
def test_numbers_that_were_read_as_words_are_not_known_before_their_row(
    tmp_path: Path, cell, note: str
) -> None:
    path = tmp_path / "f.csv"
    lines = [f"2020-01-01T{t // 60:02}:{t % 60:02};{t},5;{cell(t)}" for t in range(60)]
    path.write_text("\n".join(["when;y;z", *lines]) + "\n")
    dataset = load(Request(str(path), "y", "regression", time="when", lags=3))
    assert {c.name: (c.role, c.note) for c in dataset.columns}["z"] == ("ignored", note)
    assert "z" not in dataset.features


def pictures(
    folder: Path, sizes: tuple[tuple[int, int], ...] = ((6, 5),), mode: str = "L",
    names: Sequence[str] = ("dark", "bright"),
) -> str:  # fmt: skip
    """Twenty pictures each, dark and bright in turn."""
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for place in range(20 * len(names)):
        name, (height, width) = names[place % len(names)], sizes[place % len(sizes)]
        (folder / name).mkdir(parents=True, exist_ok=True)
        shape = (height, width) if mode == "L" else (height, width, 3)
        pixels = draw.integers(0, 100, shape, np.uint8) + np.uint8(100 * (place % 2))
        image.fromarray(pixels).save(folder / name / f"{place:03}.png")
    return str(folder)


def test_a_folder_of_pictures_is_a_table_of_pixels(tmp_path: Path) -> None:
    dataset = load(Request(pictures(tmp_path / "light")))
    assert (dataset.grid, dataset.classes) == (Grid(1, (6, 5)), ("bright", "dark"))
    assert (dataset.name, dataset.target) == ("light", "class")
    colours = load(Request(pictures(tmp_path / "colours", mode="RGB")))
    assert colours.grid == Grid(3, (6, 5))


@pytest.mark.parametrize(
    "names", [["00", "01", "02"], [str(number) for number in range(1, 31)], [*"0123456", "old"]]
)
def test_sub_folders_of_pictures_are_classes_by_their_names_whatever_these_are(
    tmp_path: Path, names: list[str]
) -> None:
    source = pictures(tmp_path / "plates", ((2, 2),), names=names)
    dataset = load(Request(source))
    assert dataset.task == "multiclass"
    assert sorted(dataset.classes) == sorted(names)
    assert len(load_test(Request(source)).y) == 4 * len(names)


def test_pictures_of_several_sizes_are_brought_to_one(tmp_path: Path) -> None:
    source = pictures(tmp_path / "light", ((6, 5), (9, 8)))
    with pytest.raises(DataError) as caught:
        load(Request(source))
    assert str(caught.value) == (
        "the pictures of light differ in size (6 x 5 and 9 x 8); "
        "--image HEIGHTxWIDTHx3 brings them to one"
    )
    found = load(Request(source, image="4x4x3"))
    assert found.grid == Grid(3, (4, 4))
    note = "40 pictures are brought to 4 x 4 pixels, such as 'bright/001.png' of 9 x 8"
    assert note in found.warnings
    with pytest.raises(UsageError, match="--image 4: for a folder of pictures write"):
        load(Request(source, image="4"))


def test_pictures_of_another_file_are_brought_to_the_size_of_the_first(tmp_path: Path) -> None:
    source, other = pictures(tmp_path / "a"), pictures(tmp_path / "b", ((9, 8),), mode="RGB")
    asked = load_test(Request(source, test=other, image="6x5x1"))
    assert np.array_equal(load_test(Request(source, test=other)).x, asked.x)
    assert np.array_equal(load(Request(source, valid=other)).valid.x, asked.x)


def test_arrays_of_another_size_are_refused(tmp_path: Path) -> None:
    small, large = (
        arrays(tmp_path / f"{side}.npz", np.random.default_rng(0).random((40, side, side)))
        for side in (6, 8)
    )
    with pytest.raises(DataError) as caught:
        load(Request(small, test=large))
    assert str(caught.value) == (
        "8.npz holds images of 8 x 8 pixels and 6.npz images of 6 x 6 pixels; both need the same"
    )


def test_what_is_left_out_of_a_folder_of_pictures_is_said(tmp_path: Path) -> None:
    source = pictures(tmp_path / "light")
    folder = tmp_path / "light"
    assert describe(Request(source)).counts["read"] == 40
    assert not [note for note in load(Request(source)).warnings if "light" in note]
    (folder / "dim").mkdir()
    (folder / ".cache").mkdir()
    (folder / "dark" / "deep").mkdir()
    (folder / "dark" / "000.png").rename(folder / "dark" / "deep" / "000.png")
    for name in ("dark/a.gif", "deep.txt", "dark/.hidden"):
        (folder / name).write_text("none")
    found = load(Request(source))
    assert [note for note in found.warnings if "light" in note] == [
        "2 files of light left out, such as 'dark/a.gif': only png and jpg are read",
        "sub-folder 'dim' of light has no png or jpg files, so it is no class",
    ]
    assert describe(Request(source)).classes == (("bright", 20), ("dark", 20))


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = pictures(tmp_path / "light")
    (tmp_path / "light" / "dark" / "000.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"dark/000.png of light cannot be read as a picture; take"):
        load(Request(source))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder without pictures"):
        load(Request(str(tmp_path / "empty")))


LEARNT = np.random.default_rng(0).normal(size=(40, 3, 20))


def network(
    folder: Path, x: np.ndarray = LEARNT, source: Path | None = None, **asked: Any
) -> Predictor:
    """One that learnt nothing yet, of an array or a source."""
    path = str(source or arrays(folder / "learnt.npz", x))
    form = read(path).grid
    bundle = made(Request(path, **asked))
    return Predictor(replace(bundle, data=asked | {"source": path, "grid": plain(form)}))


def test_of_grey_pictures_of_16_bits_the_upper_8_are_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    values = np.arange(0, 1 << 16, 1 << 10, dtype=np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.fromarray(values).save(tmp_path / name / "0.png")

    table = read(str(tmp_path))

    assert table.grid == Grid(1, (8, 8))
    pixels = [numbers(table.columns[f"x{place}"])[0] for place in range(64)]
    assert pixels == list(range(0, 256, 4))


@pytest.mark.parametrize(
    ("shape", "there"),
    [
        ((3, 10, 10), "images of 10 x 10 pixels in 3 channels"),
        ((20, 3), "series of 3 steps in 20 channels"),
        ((3, 40), "series of 40 steps in 3 channels"),
    ],
)
def test_arrays_of_another_shape_are_neither_predicted_nor_scored(
    tmp_path: Path, shape: tuple[int, ...], there: str
) -> None:
    predictor = network(tmp_path)
    other = arrays(tmp_path / "a.npz", np.zeros((40, *shape)))
    for answer in (predictor.predict, partial(evaluate, predictor.bundle)):
        with pytest.raises(DataError) as caught:
            answer(other)
        assert str(caught.value) == (
            f"a.npz holds {there}; the network reads series of 20 steps in 3 channels"
        )


def test_the_shape_is_that_of_the_file_whatever_it_was_taken_for(tmp_path: Path) -> None:
    for asked in ({"image": "6x10"}, {"series": True}):
        predictor = network(tmp_path, **asked)
        assert len(predictor.predict(str(tmp_path / "learnt.npz"))) == 40


def test_a_flat_table_of_the_same_columns_is_predicted_too(tmp_path: Path) -> None:
    predictor = network(tmp_path)
    lines = [",".join(map(str, row.ravel())) for row in LEARNT]
    header = ",".join(f"x{place}" for place in range(60))
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]) + "\n")
    there = predictor.predict_proba(str(tmp_path / "learnt.npz"))
    assert np.array_equal(predictor.predict_proba(str(tmp_path / "a.csv")), there)


def test_an_array_in_memory_has_the_shape_that_it_has_in_a_file(tmp_path: Path) -> None:
    for asked in ({}, {"image": "6x10"}, {"series": True}):
        predictor = network(tmp_path, **asked)
        there = predictor.predict_proba(str(tmp_path / "learnt.npz"))
        assert np.array_equal(predictor.predict_proba(LEARNT), there)
        assert np.array_equal(predictor.predict_proba(LEARNT.reshape(40, 60)), there)
    with pytest.raises(DataError, match=r"the array holds series of 3 steps in 20 channels; the n"):
        predictor.predict(LEARNT.reshape(40, 20, 3))
    assert predictor.predict(LEARNT[:0]).shape == (0,)
    for other, held in (
        (LEARNT[:, :, :10], "holds series of 10 steps in 3 channels"),
        (LEARNT[0], "has the shape (3, 20)"),
        (LEARNT[:, None, :, :, None], "has the shape (40, 1, 3, 20, 1)"),
        (None, "has the shape ()"),
    ):
        with pytest.raises(DataError) as caught:
            predictor.predict(other)
        assert str(caught.value) == (
            f"the array {held}; the network reads series of 20 steps in 3 channels, an array of "
            "several, or rows of 60 numbers"
        )


def test_pictures_in_memory_are_predicted_as_those_of_a_folder(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3), np.uint8)
    for place, values in enumerate(pictures):
        folder = tmp_path / "learnt" / ("a", "b")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(values).save(folder / f"{place:02}.png")
    predictor = network(tmp_path, source=tmp_path / "learnt")
    there = predictor.predict_proba(str(tmp_path / "learnt" / "a"))
    assert np.allclose(predictor.predict_proba(pictures[::2]), there, atol=1e-6)


def test_a_plain_table_has_rows_of_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n" + "1,2,3\n2,1,4\n3,5,1\n" * 20)
    predictor = network(tmp_path, source=tmp_path / "a.csv", target="y")
    with pytest.raises(DataError, match=r"array of shape \(3, 1, 2\) was given; rows of 2 columns"):
        predictor.predict(np.zeros((3, 1, 2)))


def test_rows_of_an_npz_are_predicted_without_answers_and_one_alone(tmp_path: Path) -> None:
    predictor = network(tmp_path)
    learnt = predictor.predict_proba(str(tmp_path / "learnt.npz"))
    np.savez(tmp_path / "a.npz", X=LEARNT[:1])
    # How a product is rounded may depend on its number of rows, by the processor.
    assert np.allclose(predictor.predict_proba(str(tmp_path / "a.npz")), learnt[:1], atol=1e-6)
    one = arrays(tmp_path / "b.npz", LEARNT[:1])
    assert np.allclose(predictor.predict_proba(one), learnt[:1], atol=1e-6)
    assert evaluate(predictor.bundle, one).rows == 1
    with pytest.raises(DataError, match=r"a.npz holds X; X and y are needed, or X_train"):
        evaluate(predictor.bundle, str(tmp_path / "a.npz"))
    np.savez(tmp_path / "c.npz", rows=LEARNT)
    with pytest.raises(DataError, match=r"c.npz holds rows; X is needed, or X_train and X_test"):
        predictor.predict(str(tmp_path / "c.npz"))


def test_the_rows_of_an_official_split_are_all_predicted_and_scored(tmp_path: Path) -> None:
    predictor, y = network(tmp_path), np.arange(40) % 2
    path = str(tmp_path / "a.npz")
    np.savez(path, X_train=LEARNT[:30], y_train=y[:30], X_test=LEARNT[30:], y_test=y[30:])
    note = "a.npz: 30 rows of X_train come first, then 10 of X_test"
    with pytest.warns(UserWarning, match=note):
        found = predictor.predict_proba(path)
    whole = predictor.predict_proba(str(tmp_path / "learnt.npz"))
    assert np.allclose(found, whole, atol=1e-6)  # of other numbers of rows at once
    scored = evaluate(predictor.bundle, path)
    assert (scored.rows, scored.notes) == (40, (note,))
