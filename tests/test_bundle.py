"""The file of a network: what goes in comes out, and nothing that is in it can do harm."""

import hashlib
import json
import os
import pickle
import random
import re
import shutil
import sqlite3
import struct
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nntune
from nntune import bundle, study
from nntune.bundle import Bundle, Predictor, forward
from nntune.bundle.refit import Refitted, Wanted, _Maker, refit
from nntune.bundle.scoring import truth
from nntune.cli import main
from nntune.data import Request, load
from nntune.data.learning import Learning
from nntune.data.learning import load as load_rows
from nntune.errors import (
    AllFailedError,
    DataError,
    Error,
    NotFoundError,
    RefusedError,
    UsageError,
)
from nntune.networks import Perceptrons, initial
from nntune.retraining import Retrainer
from nntune.session import Options, run
from nntune.study import Trial, View
from nntune.trials import Progress, Shape
from nntune.workers import Workers

TABLES = Path(__file__).parent / "data"
PENGUINS = Request(str(TABLES / "penguins.csv"), "species")
HITTERS = Request(str(TABLES / "hitters.csv"), "Salary")


@cache
def made(request: Request = PENGUINS, members: int = 1, rows: str = "train") -> Bundle:
    """A bundle of untrained networks on a table."""
    learnt = load_rows(request, rows)
    hidden = [(16, 8), (32,), ()]
    shapes = [
        Shape(learnt.train.x.shape[1], hidden[m], len(learnt.classes) or 1) for m in range(members)
    ]
    return Bundle(
        parameters=tuple(initial(shape, 5, m) for m, shape in enumerate(shapes)),
        shapes=tuple(shapes),
        task=learnt.task,
        target=learnt.target,
        classes=learnt.classes,
        target_mean=learnt.target_mean,
        target_scale=learnt.target_scale,
        encoder=learnt.encoder.to_dict(),
        columns=learnt.columns,
        metrics={"metric": "log_loss", "value": 0.5, "epoch": 3, "rows": rows},
        versions={"nntune": nntune.__version__},
        fingerprint=learnt.fingerprint,
        params={"units": 16, "activation": "relu"},
        trials=tuple(range(members)),
        seed=5,
        command="nntune refit",
        data={"source": request.source},
    )


def plain(values: Any) -> Any:
    """Values as JSON gives them back."""
    return json.loads(json.dumps(values))


def searched(folder: Path, request: Request, keep: int = 3) -> View:
    """A short search on a table."""
    ranges = {"epochs": "4", "hidden_layers": "1:2", "units": "16,32", "batch_size": "32"}
    return run(
        Options(
            request, None, ranges, None, 8, None, None, None, folder / "s.db", "tpe", "halving",
            1, "cpu", False, False, "nntune search", keep,
        ),
        quiet=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("penguins"), PENGUINS)


@pytest.fixture(scope="module")
def hitters(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("hitters"), HITTERS)


@pytest.mark.parametrize(("request_", "members"), [(PENGUINS, 1), (HITTERS, 1), (PENGUINS, 3)])
def test_what_is_written_is_read(tmp_path: Path, request_: Request, members: int) -> None:
    before = made(request_, members)

    bundle.write(tmp_path / "a.nnt", before)
    after = bundle.read(tmp_path / "a.nnt")

    for one, other in zip(before.parameters, after.parameters, strict=True):
        assert one.tobytes() == other.tobytes()
    plain_before = replace(before, parameters=(), encoder=plain(before.encoder))
    assert plain_before == replace(after, parameters=())
    assert os.listdir(tmp_path) == ["a.nnt"]


@pytest.mark.parametrize("series", [False, True])
def test_a_number_as_large_as_can_be_is_kept_and_predicted_from(
    tmp_path: Path, series: bool
) -> None:
    cells = [["1.797e308" if i % 90 == 7 else str(i % 10), str(i * 3 % 7)] for i in range(200)]
    rows = [",".join([*each, "ab"[i % 2]]) for i, each in enumerate(cells)]
    source = tmp_path / "a.csv"
    source.write_text("\n".join(["u,v,y", *rows]))
    bundle.write(tmp_path / "a.nnt", made(Request(str(source), "y", series=series)))

    assert np.isfinite(nntune.load(tmp_path / "a.nnt").predict_proba(source)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
@pytest.mark.parametrize("hidden", [(), (16,), (64, 32, 16)])
def test_the_forward_pass_is_that_of_torch(activation: str, hidden: tuple[int, ...]) -> None:
    shape = Shape(10, hidden, 3, activation)
    flat = initial(shape, 0, 0)
    x = np.random.default_rng(0).normal(scale=3, size=(50, 10)).astype(np.float32)
    network = Perceptrons(shape, torch.from_numpy(flat)[None], 50, "torch")

    with torch.inference_mode():
        network.inputs.copy_(torch.from_numpy(x))
        network.forward()
    outputs = forward.outputs(forward.layers(flat, shape), shape, x)

    assert np.abs(outputs - network.outputs[0].numpy().T).max() < 1e-5
    expected = network.outputs[0].softmax(0).numpy().T
    assert np.abs(forward.probabilities(outputs) - expected).max() < 1e-6


def test_the_weights_of_the_best_few_are_in_the_study(penguins: View) -> None:
    ended = [t for t in penguins.trials() if t.state in ("complete", "pruned")]

    kept = [t.number for t in ended if penguins.weights(t.number) is not None]

    assert kept == [t.number for t in ended][:3]


def test_no_weights_are_kept_if_none_are_wanted(tmp_path: Path) -> None:
    view = searched(tmp_path, PENGUINS, keep=0)

    assert [view.weights(t.number) for t in view.trials()] == [None] * 8


def test_a_deleted_trial_takes_its_weights_with_it(tmp_path: Path) -> None:
    view = searched(tmp_path, PENGUINS, keep=1)

    with closing(sqlite3.connect(view.path)) as connection:
        connection.execute("DELETE FROM trials")
        left = connection.execute("SELECT count(*) FROM nntune_weights").fetchone()

    assert left == (0,)


@pytest.mark.parametrize("name", ["penguins", "hitters"])
def test_as_searched_is_the_network_that_the_search_scored(
    name: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(name)
    best = view.best()
    assert best is not None

    found = refit(view, Wanted(rows="train")).bundle

    dataset = load(PENGUINS if name == "penguins" else HITTERS)
    values = Predictor(found).scores(dataset.valid.x)
    if found.classes:
        value = -np.log(values[np.arange(len(values)), dataset.valid.y]).mean()
    else:
        y = dataset.valid.y * dataset.target_scale + dataset.target_mean
        value = np.sqrt(((values[:, 0] - y) ** 2).mean())
    assert value == pytest.approx(best.value, rel=1e-5)


def test_without_kept_weights_the_same_network_is_trained_again(
    penguins: View, tmp_path: Path
) -> None:
    kept = refit(penguins, Wanted(rows="train"))
    copy = tmp_path / "old.db"
    copy.write_bytes(penguins.path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("DROP TRIGGER nntune_weights_deleted")
        connection.execute("DROP TABLE nntune_weights")

    again = refit(study.read(copy), Wanted(rows="train"))

    assert again.notes == ()
    assert again.bundle.parameters[0].tobytes() == kept.bundle.parameters[0].tobytes()


@pytest.mark.parametrize("name", ["penguins", "hitters"])
def test_training_anew_is_the_training_of_the_search_on_other_rows(
    name: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(name)
    best = view.best()
    assert best is not None

    with Workers(1) as workers:
        learnt = load_rows(PENGUINS if name == "penguins" else HITTERS, "train")
        (anew,) = _Maker(view, workers, []).retrained([best], learnt, "train")

    assert anew.tobytes() == refit(view, Wanted(rows="train")).bundle.parameters[0].tobytes()


def test_an_older_file_gets_the_table_of_weights_when_it_is_searched_again(
    penguins: View, tmp_path: Path
) -> None:
    copy = tmp_path / "s.db"
    copy.write_bytes(penguins.path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("DROP TRIGGER nntune_weights_deleted")
        connection.execute("DROP TABLE nntune_weights")

    view = searched(tmp_path, PENGUINS)

    assert len(view.trials()) == 8
    assert view.weights(0) is None


@pytest.mark.parametrize(("rows", "count"), [("train", 220), ("train+valid", 275), ("all", 344)])
def test_refit_learns_from_the_rows_asked_for(penguins: View, rows: str, count: int) -> None:
    found = refit(penguins, Wanted(rows=rows))

    assert found.bundle.metrics["count"] == count
    assert ("test rows" in " ".join(found.notes)) == (rows == "all")


@pytest.mark.parametrize("deaths", [1, 2])
def test_refit_trains_once_more_if_its_process_dies(
    penguins: View, deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, train, left = refit(penguins, Wanted()).bundle, Retrainer.train, [None] * deaths

    def dying(self: Retrainer, *rest: Any) -> "Future[list[Progress]]":
        future = train(self, *rest)
        if left:
            left.pop()
            future = Future()
            future.set_exception(BrokenExecutor())
        return future

    monkeypatch.setattr(Retrainer, "train", dying)
    if deaths == 2:
        with pytest.raises(AllFailedError, match=r"the process that trains trial #\d+ died, twice"):
            refit(penguins, Wanted())
    else:
        again = refit(penguins, Wanted()).bundle
        assert again.parameters[0].tobytes() == whole.parameters[0].tobytes()


def test_refit_twice_gives_the_same_file(penguins: View, tmp_path: Path) -> None:
    for name in ("a.nnt", "b.nnt"):
        bundle.write(tmp_path / name, refit(penguins, Wanted()).bundle)

    assert (tmp_path / "a.nnt").read_bytes() == (tmp_path / "b.nnt").read_bytes()


@pytest.mark.parametrize("count", [2, 3])
def test_an_ensemble_is_kept_unless_the_best_is_clearly_better(
    hitters: View, penguins: View, count: int
) -> None:
    for view in (hitters, penguins):
        found: Refitted = refit(view, Wanted(rows="train", ensemble=count))
        (note,) = found.notes
        kept = len(found.bundle.parameters) > 1
        assert note.endswith("; kept") == kept, note
        together, alone, se = map(float, re.findall(r" ([\d.e-]+)(?: on the|[^,]* alone|;)", note))
        assert (together - alone <= 2 * se) == kept  # both metrics are minimized


def test_a_network_that_was_not_kept_is_trained_once_for_an_ensemble(
    penguins: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, train = list[int](), Retrainer.train

    def counted(self: Retrainer, members: list[Any], *rest: Any) -> "Future[list[Progress]]":
        trained.extend(member.number for member in members)
        return train(self, members, *rest)

    monkeypatch.setattr(Retrainer, "train", counted)
    monkeypatch.setattr(View, "weights", lambda self, number: None)
    refit(penguins, Wanted(rows="train", ensemble=3))

    assert len(trained) >= 2
    assert len(set(trained)) == len(trained)


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((1.0, 1.1), 2), ((1.0, 2.5), 1), ((1.0, 1.1, 2.5), 2), ((1.0, 1.1, 1.1), 3)],
)  # fmt: skip
def test_an_average_is_of_those_who_do_well_together(
    hitters: View, errors: tuple[float, ...], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predictions(
        self: _Maker, trials: list[Trial], searched: Learning
    ) -> list[list[np.ndarray]]:
        y = truth(searched.folds[0])
        wrong = np.random.default_rng(0).normal(0, 100, (len(errors), len(y), 1))
        found = [[y[:, None] + size * each] for size, each in zip(errors, wrong, strict=True)]
        return found[: len(trials)]

    monkeypatch.setattr(_Maker, "_predictions", predictions)
    monkeypatch.setattr(_Maker, "retrained", lambda self, trials, *_: self.searched(trials, None))
    monkeypatch.setattr(_Maker, "searched", lambda self, trials, _: [np.zeros(1)] * len(trials))

    assert len(refit(hitters, Wanted(ensemble=len(errors))).bundle.parameters) == kept


def test_networks_from_other_seeds_stand_beside_the_one_there_is_without(penguins: View) -> None:
    alone, found = (refit(penguins, Wanted(seeds=count)).bundle for count in (1, 3))

    assert found.parameters[0].tobytes() == alone.parameters[0].tobytes()
    assert len({flat.tobytes() for flat in found.parameters}) == 3
    assert found.trials == 3 * alone.trials
    alike = [
        replace(found, parameters=(flat,), shapes=found.shapes[:1]) for flat in found.parameters
    ]
    each = [Predictor(one).predict_proba(PENGUINS.source) for one in alike]
    assert np.allclose(Predictor(found).predict_proba(PENGUINS.source), np.mean(each, 0))


def test_seeds_multiply_what_is_averaged(hitters: View) -> None:
    numbers = refit(hitters, Wanted(ensemble=2)).bundle.trials
    found = refit(hitters, Wanted(ensemble=2, seeds=2)).bundle

    assert found.trials == tuple(number for number in numbers for _ in range(2))
    assert len({flat.tobytes() for flat in found.parameters}) == 2 * len(numbers)


def test_the_network_of_the_search_has_one_seed(penguins: View) -> None:
    with pytest.raises(UsageError, match="of which there is one, and --seeds 2 trains anew"):
        refit(penguins, Wanted(rows="train", seeds=2))


def test_an_ensemble_predicts_the_mean_of_its_members() -> None:
    few = made(members=3)
    x = load(PENGUINS).valid.x
    alone = [
        replace(few, parameters=(flat,), shapes=(shape,))
        for flat, shape in zip(few.parameters, few.shapes, strict=True)
    ]

    mean = sum(Predictor(one).scores(x) for one in alone) / 3

    assert np.abs(Predictor(few).scores(x) - mean).max() < 1e-12


def test_other_data_than_the_studys_are_refused(penguins: View, tmp_path: Path) -> None:
    other = tmp_path / "penguins.csv"
    other.write_text(Path(PENGUINS.source).read_text().replace("39.1", "39.2"))

    with pytest.raises(RefusedError, match=r"is not what study 'penguins' was made on"):
        refit(penguins, Wanted(data=str(other)))


def test_the_table_may_have_moved(penguins: View, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_bytes(Path(PENGUINS.source).read_bytes())

    found = refit(penguins, Wanted(data=str(moved))).bundle

    assert found.data["source"] == str(moved)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.nnt"
    path.write_text("mine")

    with pytest.raises(RefusedError, match=r"a\.nnt is there already; --force writes over it"):
        bundle.write(path, made())
    assert path.read_text() == "mine"
    bundle.write(path, made(), force=True)
    assert bundle.read(path).task == "multiclass"


def rewritten(path: Path, change: Any) -> Path:
    """The bundle with a change of what its header says."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["nntune"])
    change(header, facts)
    header["__metadata__"] = {"nntune": json.dumps(facts)}
    text = json.dumps(header).encode()
    out = path.with_name("changed.nnt")
    out.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return out


CHANGES = {
    "a newer format": lambda h, f: f.update(version=2),
    "no version": lambda h, f: f.pop("version"),
    "another shape": lambda h, f: f["shapes"][0].update(hidden=[16, 9]),
    "a huge shape": lambda h, f: f["shapes"][0].update(hidden=[65536] * 100),
    "an unknown activation": lambda h, f: f["shapes"][0].update(activation="eval"),
    "no classes": lambda h, f: f.update(classes=[]),
    "one class twice": lambda h, f: f.update(classes=["a", "a", "b"]),
    "a huge number": lambda h, f: f.update(target_scale=10**400),
    "a spread of zero": lambda h, f: f["encoder"]["features"][1]["scales"][0].update(sd=0),
    "a format of dates": lambda h, f: f["encoder"]["features"][0].update(role="date", style="%%"),
    "an unknown field": lambda h, f: f["encoder"]["features"][0].update(more=1),
    "features that are too few": lambda h, f: f["encoder"]["features"].pop(),
    "a name with a zero byte": lambda h, f: f["columns"][0].update(name="a\0b"),
    "a tensor too many": lambda h, f: h.update(x={"dtype": "F32", "shape": [], "data_offsets": []}),
    "a tensor beyond the end": lambda h, f: h["members.0.0.bias"].update(data_offsets=[0, 1 << 40]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_header_that_cannot_be_is_a_sentence(tmp_path: Path, change: str) -> None:
    bundle.write(tmp_path / "a.nnt", made())

    with pytest.raises(DataError, match=r"^changed\.nnt .{10,150}[.]$"):
        bundle.read(rewritten(tmp_path / "a.nnt", CHANGES[change]))


def test_files_that_are_no_bundles_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.nnt"
    for content in (
        b"", b"x", b"species,island\n", pickle.dumps(os.system), b"\xff" * 100,
        struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 20000) + b"[" * 20000,
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 7) + b'"\\ud8"x',
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(DataError, match="no bundle of nntune"):
            nntune.load(path)
    with pytest.raises(NotFoundError, match=r"there is no file .*b\.nnt; nntune refit makes"):
        nntune.load(tmp_path / "b.nnt")
    with pytest.raises(DataError, match="is a folder; name a bundle"):
        nntune.load(tmp_path)


def test_a_header_of_nothing_but_brackets_takes_no_more_than_some_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.nnt"
    for text in (b"[" + b"[]," * 300_000 + b"[]]", b"[" * 1_000_000, b"9" * 1_000_000):
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(DataError, match="no bundle of nntune"):
            bundle.read(path)
    path.write_bytes(struct.pack("<Q", 17 << 20) + b" " * (17 << 20))
    with pytest.raises(DataError, match="its header takes 17 MB, and 16 MB is the most"):
        bundle.read(path)


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.nnt"
    bundle.write(path, made())
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)

    with pytest.raises(DataError, match="its weights or its header were changed"):
        bundle.read(path)


def test_a_changed_digit_of_the_encoding_is_noticed(tmp_path: Path) -> None:
    bundle.write(tmp_path / "a.nnt", made())
    path = rewritten(
        tmp_path / "a.nnt", lambda h, f: f["encoder"]["features"][1]["scales"][0].update(mean=9.5)
    )

    with pytest.raises(DataError, match="its weights or its header were changed"):
        bundle.read(path)


def signed_as_before(path: Path) -> Path:
    """The bundle with a digest of its weights alone, as bundles once had."""
    flat = b"".join(part.tobytes() for part in bundle.read(path).parameters)
    return rewritten(path, lambda h, f: f.update(sha256=hashlib.sha256(flat).hexdigest()))


def test_a_bundle_whose_digest_is_of_the_weights_alone_is_read(tmp_path: Path) -> None:
    bundle.write(tmp_path / "a.nnt", made())
    before = bundle.read(tmp_path / "a.nnt")
    assert bundle.read(signed_as_before(tmp_path / "a.nnt")).encoder == before.encoder


SPITEFUL = [
    None, True, -1, 0, 1.5, 1e308, 10**30, "", "x", "\0", "\ud800", "=1+1", [], [[]], {}, [None],
    {"a": 1}, "9" * 5000, [0] * 50,
]  # fmt: skip


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested values."""
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def spoilt(facts: Any, luck: random.Random) -> None:
    """Replaces, removes or repeats a value somewhere."""
    place = luck.choice(places(facts))
    for key in place[:-1]:
        facts = facts[key]
    if luck.random() < 0.2:
        del facts[place[-1]]
    elif isinstance(facts, list) and luck.random() < 0.3:
        facts.append(facts[place[-1]])
    else:
        facts[place[-1]] = luck.choice(SPITEFUL)


def corrupted(data: bytes, luck: random.Random) -> bytes:
    """A bundle with one fault of some kind."""
    length = struct.unpack("<Q", data[:8])[0]
    kind = luck.randrange(8)
    if kind == 0:
        return data[: luck.randrange(len(data))]
    if kind <= 2:
        changed = bytearray(data)
        ends = 8 if kind == 1 and luck.random() < 0.3 else length if kind == 1 else len(data)
        for _ in range(luck.randint(1, 8)):
            changed[luck.randrange(ends)] = luck.randrange(256)
        return bytes(changed)
    if kind == 3:
        at = luck.randrange(len(data))
        return data[:at] + luck.randbytes(luck.randint(1, 50)) + data[at:]
    header = json.loads(data[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["nntune"])
    spoilt(header if kind == 4 else facts, luck)
    if isinstance(header.get("__metadata__"), dict) and kind > 4:
        header["__metadata__"]["nntune"] = json.dumps(facts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_of_two_thousand_corrupted_bundles_none_does_more_than_a_sentence(tmp_path: Path) -> None:
    luck = random.Random(0)
    path, rows = tmp_path / "a.nnt", tmp_path / "rows.csv"
    bundle.write(path, made())
    whole = signed_as_before(path).read_bytes()  # else no changed header would get far
    rows.write_text("\n".join(Path(PENGUINS.source).read_text().splitlines()[:4]))
    table = {name: np.array([1.0, 2.0]) for name in Predictor(made()).feature_names_in_}
    opened = 0

    for _ in range(2000):
        path.write_bytes(corrupted(whole, luck))
        with suppress(Error):
            predictor = nntune.load(path)
            predictor.predict(table)
            if opened % 20 == 0:
                predictor.predict(rows)
            opened += 1

    assert 30 < opened < 1000  # such as a changed command or version: harmless


def test_refit_names_its_file_after_the_study_and_says_what_it_is(
    penguins: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    best = penguins.best()
    assert best is not None

    codes = [
        ended("refit", penguins.path), ended("refit", penguins.path),
        ended("refit", penguins.path, "--full", "--as-searched", "-o", "b.nnt"),
        ended("refit", penguins.path, "--trial", "1", "--ensemble", "2", "-o", "b.nnt"),
        ended("refit", penguins.path, "--as-searched", "--seeds", "2", "-o", "b.nnt"),
        ended("refit", penguins.path, "--trial", "99", "-o", "b.nnt"),
        ended("refit", penguins.path, "-o", "b.csv"),
        ended("refit", penguins.path, "--json", "--full", "--force"),
    ]  # fmt: skip
    out, err = capsys.readouterr()

    assert codes == [0, 7, 2, 2, 2, 4, 2, 0]
    first, rest = out.split("\n", 1)
    assert first == (
        f"penguins.nnt: trial #{best.number} of penguins, epoch {best.epoch}, trained on 275 rows "
        f"(train+valid); in the search log_loss {best.value:.4g} on validation rows"
    )
    assert json.loads(rest) == {
        "schema": "nntune.refit/1", "bundle": "penguins.nnt", "trials": [best.number], "seeds": 1,
        "metric": "log_loss", "value": best.value, "epoch": best.epoch, "rows": "all",
        "count": 344, "study": "penguins", "patience": 20,
        "bytes": Path("penguins.nnt").stat().st_size,
    }  # fmt: skip
    assert len(err.splitlines()) == 7
    assert "nntune: -o b.csv: name a file that ends in .nnt.\n" in err
    assert os.listdir() == ["penguins.nnt"]


def test_refit_says_the_epoch_of_each_trial_of_an_ensemble(
    hitters: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    epochs = refit(hitters, Wanted(ensemble=2)).epochs
    first, second = (f"#{number} (epoch {epoch})" for number, epoch in epochs.items())

    assert ended("refit", hitters.path, "--ensemble", "2", "--seeds", "2") == 0

    name, best = hitters.name, hitters.trial(next(iter(epochs)))
    assert capsys.readouterr().out == (
        f"{name}.nnt: trials {first}, {second} of {name} from 2 seeds, trained on 210 rows "
        f"(train+valid); in the search #{best.number} had rmse {best.value:.4g} on validation "
        "rows\n"
    )
    assert epochs == {n: hitters.trial(n).epoch for n in epochs}


def ended(*words: object) -> int:
    """Exit code of a command in this process."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(str(end.value.code or 0))


def test_a_table_that_has_moved_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PENGUINS.source, "birds.csv")
    view = nntune.search("birds.csv", "species", trials=1, space={"epochs": 2}, db="birds.db")
    Path("birds.csv").rename("moved.csv")

    with pytest.raises(DataError, match=r"is not at birds.csv; --data FILE says where it is now"):
        refit(view, Wanted())

    assert refit(view, Wanted(data="moved.csv")).bundle.target == "species"
