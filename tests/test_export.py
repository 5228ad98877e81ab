"""The winner in other programs: ONNX and PyTorch predict the same, the script scores the same."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import made_studies
import numpy as np
import pytest
import torch
from scipy.sparse import issparse
from test_bundle import HITTERS, PENGUINS, TABLES, made, searched
from torch import nn

from nntune import bundle
from nntune.bundle import Bundle, Predictor
from nntune.bundle.refit import Wanted, refit
from nntune.cli import main
from nntune.data import Request, read
from nntune.data.chunks import chunks
from nntune.data.encoding import DATE_PARTS, Encoder
from nntune.data.encoding import date_parts as parts_of
from nntune.data.fitting import Doubts
from nntune.data.learning import load as load_rows
from nntune.data.table import Strings, labels, moments, numbers
from nntune.errors import DataError, UsageError
from nntune.export.configuration import space_toml
from nntune.export.graph import IR, OPSET, date_parts, onnx_model
from nntune.export.nodes import Graph
from nntune.export.script import pytorch_script
from nntune.export.weights import sequential, torch_state
from nntune.space import build
from nntune.study import View

TEXT = Request(str(TABLES / "vader_amazon_500.csv"), "valence")
TABLE = {
    "penguins": PENGUINS,
    "hitters": HITTERS,
    "wage": Request(str(TABLES / "wage_400.csv"), "wage"),
    "nyse": Request(str(TABLES / "nyse_600.csv"), "log_volume"),
    "digits": Request(str(TABLES / "digits_500.csv"), "digit"),
    "coded": replace(PENGUINS, categorical=("year",), ignore=("sex",), seed=3),
}
PARAMS: dict[str, Any] = {
    "hidden_layers": 2, "units": 16, "shape": "taper", "dropout": 0.1, "l1": 1e-6, "l2": 1e-5,
    "batch_size": 64, "epochs": 2, "lr": 0.01, "activation": "relu", "optimizer": "adam",
    "bins": 16,
}  # fmt: skip
Values = dict[str, np.ndarray[Any, Any]]
Command = Callable[..., tuple[int, str, str]]


def network(request: Request, members: int = 1) -> Bundle:
    """An untrained network with all that a bundle says of its origin."""
    untrained = made(request, members)
    metric = "log_loss" if untrained.classes else "rmse"
    metrics = {"metric": metric, "value": 0.5, "epoch": 2, "patience": 20, "study": "s"}
    return replace(
        untrained, params=PARAMS, metrics=metrics, data=asdict(request), seed=request.seed
    )


def columns(found: Bundle, source: str) -> Values:
    """The columns that the network needs, as ONNX takes them."""
    kinds = {column["name"]: column["kind"] for column in found.columns}
    table, result = read(source), {}
    for feature in Encoder.from_dict(found.encoder).features:
        cells = table.columns[feature.column]
        if feature.role == "date":
            values = moments(cells, feature.style)
        elif isinstance(cells, Strings) and kinds[feature.column] == "string":
            values = np.array([*cells.levels, ""], object)[cells.codes]
        else:
            assert not isinstance(cells, Strings)
            values = np.asarray(cells.values, np.float64)
        result[feature.column] = values[:, None]
    return result


def answers(model: bytes, inputs: Values) -> list[np.ndarray[Any, Any]]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.mark.parametrize("name", TABLE)
def test_onnx_predicts_what_the_bundle_predicts(name: str) -> None:
    request = TABLE[name]
    found = network(request)

    inputs = columns(found, request.source)
    outputs = answers(onnx_model(found), inputs)

    predictor = Predictor(found)
    if found.classes:
        assert (outputs[0] == predictor.predict(request.source)).all()
        assert outputs[1] == pytest.approx(predictor.predict_proba(request.source), abs=1e-5)
    else:
        expected = predictor.predict(request.source)
        assert outputs[0] == pytest.approx(expected, abs=1e-5 * found.target_scale)


def test_onnx_averages_an_ensemble_as_the_bundle_does() -> None:
    found = network(PENGUINS, members=3)

    _, probabilities = answers(onnx_model(found), columns(found, PENGUINS.source))

    expected = Predictor(found).predict_proba(PENGUINS.source)
    assert probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
def test_onnx_knows_every_activation(activation: str) -> None:
    found = network(HITTERS)
    found = replace(found, shapes=(found.shape._replace(activation=activation),))

    (value,) = answers(onnx_model(found), columns(found, HITTERS.source))

    expected = Predictor(found).predict(HITTERS.source)
    assert value == pytest.approx(expected, abs=1e-5 * found.target_scale)


def test_onnx_reads_what_training_did_not_show_as_the_bundle_reads_it(tmp_path: Path) -> None:
    rows = [f"{i % 7},{'ab'[i % 2]}{i % 3},{'yes' if i % 3 else 'no'},{i % 5}" for i in range(60)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["size,label,fresh,y", *rows, ",,,2", "3,rare,yes,2"]))
    new = {"size": [np.nan, np.inf, 1e300, 3.0], "label": ["", "new", "a0", "rare"],
           "fresh": ["", "NO", "Yes", "no"]}  # fmt: skip
    found = network(Request(str(table), "y", task="multiclass"))

    plain = {name: np.array(cells, float if name == "size" else object)[:, None]
             for name, cells in new.items()}  # fmt: skip
    label, probabilities = answers(onnx_model(found), plain)

    expected = Predictor(found).predict_proba(new)
    assert probabilities == pytest.approx(expected, abs=1e-5)
    assert label.dtype == np.int64


def test_the_parts_of_a_date_are_the_same_in_onnx_for_centuries() -> None:
    onnx = pytest.importorskip("onnx")
    seconds = np.random.default_rng(0).integers(-11_676_096_000, 13_569_465_600, 5000) * 1.0
    graph = Graph(["when"])
    names = date_parts(graph, "when")

    value, double = onnx.helper.make_tensor_value_info, onnx.TensorProto.DOUBLE
    outputs = [value(names[part], double, ["n"]) for part in DATE_PARTS]
    inputs = [value("when", double, ["n"])]
    whole = onnx.helper.make_graph(graph.nodes, "dates", inputs, outputs, graph.constants)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(whole, ir_version=IR, opset_imports=opsets)

    found = dict(
        zip(DATE_PARTS, answers(model.SerializeToString(), {"when": seconds}), strict=True)
    )
    for part, expected in parts_of(seconds).items():
        assert found[part] == pytest.approx(expected, abs=1e-9), part


def test_a_text_is_refused_by_onnx_in_one_sentence() -> None:
    with pytest.raises(DataError) as caught:
        onnx_model(network(TEXT))

    assert str(caught.value) == (
        "column 'text' is text, which no ONNX operator takes apart; search again with --ignore "
        "text, or predict with the bundle itself."
    )


def test_without_the_onnx_package_a_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(UsageError, match=re.escape("pip install 'nntune[onnx]'")):
        onnx_model(network(PENGUINS))


@pytest.mark.parametrize("name", ["penguins", "hitters"])
def test_torch_loads_the_state_without_code_and_computes_the_same(
    name: str, tmp_path: Path
) -> None:
    found = network(TABLE[name])
    (tmp_path / "model.pt").write_bytes(torch_state(found))

    model = eval(sequential(found.shape), {"nn": nn})
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))

    x = load_rows(TABLE[name], "train").valid.x
    with torch.no_grad():
        outputs = model(torch.from_numpy(x)).double()
    expected = Predictor(found).scores(x)
    values = outputs.softmax(1) if found.classes else outputs
    assert values.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_torch_refuses_to_write_an_ensemble_as_one_network() -> None:
    with pytest.raises(UsageError, match="this bundle averages 2; --format onnx holds them all"):
        torch_state(network(PENGUINS, members=2))


def test_a_configuration_as_toml_fixes_the_space(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(space_toml(PARAMS, "trial #1 of\n[x]"))

    space = build({}, file, bins=16)

    assert all(each.fixed for each in space.hyperparameters)
    assert space.default == PARAMS


def until_training(script: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a script, run up to its network."""
    monkeypatch.setattr(sys, "argv", ["script.py"])
    names: dict[str, Any] = {}
    exec(compile(script.split("\ntorch.manual_seed")[0], "script", "exec"), names)
    return names


def sorted_columns(*parts: Any) -> np.ndarray[Any, Any]:
    """Rows below each other, columns in an order of their own."""
    dense = [part.toarray() if issparse(part) else np.asarray(part) for part in parts]
    whole = np.concatenate(dense)
    return whole[:, np.lexsort(whole.round(3)[::-1])]


@pytest.mark.parametrize("request_", [*TABLE.values(), TEXT, Request("sklearn:iris", "target")])
def test_a_script_learns_from_the_very_rows_and_features_of_the_search(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = load_rows(request_, "train")

    names = until_training(
        pytorch_script(network(request_), request_.source, "script.py"), monkeypatch
    )

    expected = sorted_columns(learnt.train.x, learnt.valid.x)
    found = sorted_columns(names["x"], names["x_valid"])
    assert found == pytest.approx(expected, abs=1e-5)
    assert names["y"].numpy().squeeze() == pytest.approx(learnt.train.y, abs=1e-5)
    assert names["y_valid"].numpy().squeeze() == pytest.approx(learnt.valid.y, abs=1e-5)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_script_reads_dates_truths_and_other_formats_alike(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    duckdb = pytest.importorskip("duckdb")
    table = pandas.read_csv(PENGUINS.source)
    table["many"] = table["body_mass_g"].astype("Int64")
    table["when"] = pandas.date_range("1969-01-01", periods=len(table), freq="37h")
    table["heavy"] = table["body_mass_g"] > 4000
    path = tmp_path / f"table.{ending}"
    if ending == "parquet":
        duckdb.from_df(table).write_parquet(str(path))
    elif ending == "jsonl":
        table.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        table.to_csv(path, index=False, sep=";", decimal=",", date_format="%d.%m.%Y %H:%M")
    other = str(shutil.copy(path, tmp_path / f"valid.{ending}"))
    request = Request(str(path), "heavy", ignore=("body_mass_g",), valid=other)

    names = until_training(
        pytorch_script(network(request), request.source, "script.py"), monkeypatch
    )

    learnt = load_rows(request, "train")
    expected = sorted_columns(learnt.train.x, learnt.valid.x)
    assert sorted_columns(names["x"], names["x_valid"]) == pytest.approx(expected, abs=1e-5)
    assert (names["y"].numpy() == learnt.train.y).all()


@pytest.mark.parametrize("swapped", [False, True])
def test_predictions_and_a_script_read_thousands_as_training_does(
    swapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["1.234", "1.234.000", "12.5", "0.125", "-2.500", "1.527,79", "3,5", "7", " 1.000 "]
    if swapped:
        cells = [cell.translate(str.maketrans(",.", ".,")) for cell in cells]
        cells = ["12.5" if cell == "12,5" else cell for cell in cells]
    rows = [f"{cells[i % 9]};{cells[i % 9]};{i * i % 17}" for i in range(90)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["y;a;b", *rows]))
    request = Request(str(path), "y", task="regression")
    found = network(request)

    names = until_training(pytorch_script(found, request.source, "script.py"), monkeypatch)

    learnt = load_rows(request, "train")
    truth = {1234, 1_234_000, 12.5, 125 if swapped else 0.125, -2500, 1527.79, 3.5, 7, 1000}
    assert names["y"].numpy().squeeze() == pytest.approx(learnt.train.y, abs=1e-5)
    assert names["x"].numpy() == pytest.approx(learnt.train.x, abs=1e-5)
    parts = chunks(str(path), Predictor(found).columns, Doubts())
    assert {value for part in parts for value in part.columns["a"].values} == truth
    assert {*numbers(read(str(path)).columns["a"], found.columns[1]["style"])} == truth


@pytest.mark.parametrize("unit", ["e-9", "e306"])
def test_a_script_and_onnx_standardise_numbers_of_an_odd_unit(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i * 37 % 100}{unit},1.0000000{i % 3},{'ny'[i % 3 == 0]}" for i in range(100)]
    (tmp_path / "tiny.csv").write_text("\n".join(["a,b,y", *rows]))
    request = Request(str(tmp_path / "tiny.csv"), "y")
    found = network(request)

    names = until_training(pytorch_script(found, request.source, "script.py"), monkeypatch)
    probabilities = answers(onnx_model(found), columns(found, request.source))[1]

    x = load_rows(request, "train").train.x
    assert names["x"].numpy() == pytest.approx(x, abs=1e-5)
    assert np.ptp(x[:, 0]) > 3
    expected = Predictor(found).predict_proba(request.source)
    assert probabilities == pytest.approx(expected, abs=1e-5)


def test_a_script_and_onnx_tell_whole_numbers_of_18_digits_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i % 7},{9 * 10**17 + i % 4},{9 * 10**17 + (i % 4 > 1)}" for i in range(100)]
    (tmp_path / "large.csv").write_text("\n".join(["a,code,y", *rows]))
    request = Request(str(tmp_path / "large.csv"), "y", categorical=("code",))
    found = network(request)

    names = until_training(pytorch_script(found, request.source, "script.py"), monkeypatch)
    cells = labels(read(request.source).columns["code"])
    codes = np.array(cells.levels, object)[cells.codes]
    a = np.array([[i % 7] for i in range(100)], float)
    label, probabilities = answers(onnx_model(found), {"a": a, "code": codes[:, None]})

    learnt, predictor = load_rows(request, "train"), Predictor(found)
    expected = sorted_columns(learnt.train.x)
    assert sorted_columns(names["x"]) == pytest.approx(expected, abs=1e-5)
    assert names["y"].numpy().tolist() == learnt.train.y.tolist()
    assert label.tolist() == predictor.predict(request.source).tolist()
    assert probabilities == pytest.approx(predictor.predict_proba(request.source), abs=1e-5)


@pytest.mark.parametrize("classes", [("no", "yes"), ("0", "1")])
def test_a_script_leaves_out_rows_without_a_class_as_the_search_does(
    classes: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i * 37 % 100 / 7},{classes[i % 3 == 0] if i % 10 else ''}" for i in range(100)]
    (tmp_path / "gaps.csv").write_text("\n".join(["a,y", *rows]))
    request = Request(str(tmp_path / "gaps.csv"), "y")

    names = until_training(
        pytorch_script(network(request), request.source, "script.py"), monkeypatch
    )

    learnt = load_rows(request, "train")
    assert (names["y"].numpy() == learnt.train.y).all()
    assert names["x"].numpy() == pytest.approx(learnt.train.x, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "meaning"),
    [
        ({"group": "island"}, "deals rows out one by one, and this study kept those of one island "
         "together"),
        ({"time": "year"}, "deals rows out at random, and this study did so in the order of year"),
        ({"lags": 5}, "reads each row by itself, and this study --lags 5 rows before it too"),
        ({"subsample": 100}, "learns from all rows, and this study searched on --subsample 100 of "
         "them"),
        ({"image": "2x2"}, "scales each column by itself, and this study all pixels of a channel "
         "alike"),
        ({"series": True}, "scales each column by itself, and this study all numbers of a channel "
         "alike"),
    ],
)  # fmt: skip
def test_a_script_of_a_study_that_it_would_not_repeat_is_refused(
    asked: dict[str, Any], meaning: str
) -> None:
    untrained = network(PENGUINS)
    found = replace(untrained, data={**untrained.data, **asked})

    with pytest.raises(UsageError) as raised:
        pytorch_script(found, PENGUINS.source, "script.py")

    assert str(raised.value) == (
        f"a script {meaning}; --format onnx, torch or toml keep to the study."
    )


def test_a_script_of_a_study_of_an_array_of_images_is_refused(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(60, 4, 4))
    np.savez(tmp_path / "images.npz", X=images, y=np.arange(60) % 2)
    np.savez(tmp_path / "table.npz", X=images.reshape(60, 16), y=np.arange(60) % 2)
    refused, written = (Request(str(tmp_path / f"{name}.npz")) for name in ("images", "table"))

    for source in (refused.source, str(tmp_path)):  # of a folder of pictures too
        with pytest.raises(UsageError, match="a script scales each column by itself"):
            pytorch_script(network(refused), source, "script.py")

    assert "X" in pytorch_script(network(written), written.source, "script.py")


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        (None, "In the search its log_loss was 0.5 on the same validation rows.\n"),
        (5, "In the search its log_loss was 0.5 in the mean over 5 folds;\n"
            "here one split of the same rows trains and validates.\n"),
    ],
)  # fmt: skip
def test_the_head_of_a_script_says_on_what_the_search_had_its_value(
    folds: int | None, said: str
) -> None:
    found = network(replace(PENGUINS, cv=folds))

    assert said in pytorch_script(found, PENGUINS.source, "script.py")


def test_a_name_in_a_bundle_does_not_become_code_in_the_script() -> None:
    hostile = '"""\nraise SystemExit(9)\n"""'
    found = network(PENGUINS)
    facts = {**found.metrics, "study": hostile}
    text = {"versions": {"nntune": hostile}, "classes": (hostile, "b", "c"), "target": hostile}
    columns = tuple({**c, "name": c["name"].replace("species", hostile)} for c in found.columns)
    found = replace(found, metrics=facts, columns=columns, **text)

    script = pytorch_script(found, PENGUINS.source, 'x".py')

    tree = ast.parse(script)
    values = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    assert ast.literal_eval(values["CLASSES"]) == [hostile, "b", "c"]
    assert ast.literal_eval(values["TARGET"]) == hostile


def test_a_script_trains_the_winner_to_the_score_of_the_search(
    tmp_path: Path, command: Command
) -> None:
    view = searched(tmp_path, TABLE["wage"])
    model, script = tmp_path / "wage.nnt", tmp_path / "wage.py"
    bundle.write(model, refit(view, Wanted(rows="train")).bundle)

    code, told, _ = command("export", model, "--format", "script", "-o", script)
    done = subprocess.run(
        [sys.executable, "-W", "error", script, TABLE["wage"].source],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    lines = script.read_text().splitlines()
    assert (code, done.stderr, len(told.splitlines())) == (0, "", 1)
    assert len([line for line in lines if line.strip()]) < 130
    assert "nntune" not in " ".join(line for line in lines if "import" in line)
    found = re.fullmatch(r"rmse (\S+) on 64 rows, epoch \d+ of \d+\n", done.stdout)
    best = view.best()
    assert found
    assert best
    # Seeds of the winner's training differ by a few hundredths in this error of noisy wages.
    assert float(found[1]) == pytest.approx(best.value, rel=0.1)


def test_export_writes_each_format_and_says_what_to_do_with_it(
    tmp_path: Path, command: Command
) -> None:
    model = tmp_path / "penguins.nnt"
    bundle.write(model, network(PENGUINS))

    told = {form: command("export", model, "--format", form) for form in ("onnx", "torch", "toml")}

    assert told["onnx"] == (
        0,
        f"{tmp_path}/penguins.onnx: 7 columns, each of shape (rows, 1), in; "
        "label and probabilities out\n",
        "",
    )
    assert (
        "network.load_state_dict(torch.load('penguins.pt', weights_only=True))"
        in (told["torch"][1])
    )
    assert told["toml"][1].endswith("the configuration of trial #0, for nntune search --space\n")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".nnt", ".onnx", ".pt", ".toml"]


def test_export_writes_the_configuration_of_any_trial_of_a_study(
    tmp_path: Path, command: Command
) -> None:
    view = searched(tmp_path, PENGUINS)
    out = tmp_path / "space.toml"

    command("export", view.name, "--db", view.path, "--trial", "0", "--format", "toml", "-o", out)

    assert out.read_text().startswith("# trial #0 of penguins\nhidden_layers = 2\nunits = 32\n")


def test_the_name_of_a_study_keeps_its_dots_in_that_of_the_file(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_studies.make(tmp_path / "studies" / "sales.2024.db")
    monkeypatch.chdir(tmp_path)

    for source in ("sales.2024", "studies/sales.2024.db"):
        assert command("export", source, "--format", "toml")[0] == 0
        assert Path(f"{source.removesuffix('.db')}.toml").is_file()
    assert command("export", ".", "--format", "onnx") == (
        3, "", "nntune: . is a folder; name a bundle.\n",
    )  # fmt: skip


def test_export_writes_the_configuration_of_the_confirmed_winner(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = searched(tmp_path, PENGUINS)
    second = view.trials()[1].number
    monkeypatch.setattr(View, "winner", lambda self: self.trial(second))

    told = command(
        "export", view.name, "--db", view.path, "--format", "toml", "-o", tmp_path / "s.toml"
    )

    assert f"the configuration of trial #{second}, " in told[1]


def test_export_does_not_write_over_a_file_without_force(tmp_path: Path, command: Command) -> None:
    model, out = tmp_path / "penguins.nnt", tmp_path / "there.toml"
    bundle.write(model, network(PENGUINS))
    out.write_text("mine")
    words = ("export", model, "--format", "toml", "-o", out)

    assert command(*words) == (
        7,
        "",
        f"nntune: {out} is there already; --force writes over it, -o names another.\n",
    )
    assert out.read_text() == "mine"
    assert command(*words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "onxx"], "--format onxx: there are onnx, torch, script, toml."),
        (["--format", "bundle"], "--format bundle: a bundle is what nntune refit writes;"),
        (["--format", "onnx", "--trial", "3"], "--format onnx is made of a bundle; nntune refit"),
        (["--format", "toml", "--trial", "3"], "holds the configuration of one trial only."),
        (["--format", "script", "--data", "no.csv"], "there is no file no.csv."),
        (["--format", "torch", "-o", "a.csv"], "-o a.csv: name a file that ends in .pt or .pth."),
    ],
)
def test_a_mistake_in_an_export_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, command: Command
) -> None:
    model = tmp_path / "penguins.nnt"
    bundle.write(model, network(PENGUINS))

    code, printed, told = command("export", model, *words)

    assert (code in (2, 3), printed, told.count("\n")) == (True, "", 1)
    assert sentence in told
