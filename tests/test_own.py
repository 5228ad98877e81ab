"""A network of the user's own: found, trained, kept, and never run without being asked for."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nntune import autograd, bundle, own, study
from nntune.bundle import checks
from nntune.cli import app
from nntune.errors import AllFailedError, CrashError, RefusedError, UsageError
from nntune.export.weights import sequential
from nntune.failures import failure_of
from nntune.families import Grid, Own
from nntune.session import search
from nntune.space import build, parse, parse_toml
from nntune.training import Examples, train
from nntune.trials import Progress, Setting

FILE = Path(__file__).parent / "data" / "own.py"
NET = f"{FILE}:Net"
RUN = CliRunner()


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network that was named, and no others."""
    monkeypatch.setattr(own, "_named", {})
    own.name_network(NET)
    return NET


def examples() -> Examples:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    y = x[:, :3].argmax(1)
    return Examples(x[:40], y[:40], x[40:], y[40:], 3, 1.0)


def test_a_networks_tensors_are_found_each_once(net: str) -> None:
    shape = own.shape_of_own(net, {"net.width": 4}, 5, 3, None)
    assert [(part.name, part.kind) for part in shape.parts] == [
        ("first.weight", "weight"), ("middle.weight", "weight"), ("last.weight", "weight"),
        ("first.bias", "bias"), ("norm.weight", "bias"), ("norm.bias", "bias"),
        ("middle.bias", "bias"), ("last.bias", "bias"),
        ("norm.running_mean", "buffer"), ("norm.running_var", "buffer"),
    ]  # fmt: skip
    assert shape.parameters == len(autograd.initial(shape, 0, 1))


@pytest.mark.parametrize("name", ["Net", "Still"])
def test_normalisation_is_measured_unless_the_code_keeps_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(own, "_named", {})
    own.name_network(f"{FILE}:{name}")
    shape = own.shape_of_own(f"{FILE}:{name}", {"net.width": 4}, 5, 3, None)
    setting = Setting(shape, 16, "adam", "log_loss", patience=9, seed=7)
    member = Progress(3, lr=0.01, l1=0, l2=0, dropout=0, epochs=9)
    data = examples()
    (trained,) = train([member], setting, data, until=1)

    flat = torch.from_numpy(trained.average)  # weights, biases, then the two buffers
    h = torch.nn.functional.linear(data.x, flat[:20].view(4, 5), flat[48:52])
    measured = torch.cat([h.mean(0), h.var(0)])
    kept = torch.tensor([0.0] * 4 + [1.0] * 4)
    torch.testing.assert_close(flat[-8:], measured if name == "Net" else kept)


def test_an_epoch_equals_torchs_own_training(net: str) -> None:
    shape = own.shape_of_own(net, {"net.width": 4, "net.rate": 0.0}, 5, 3, None)
    module = own.made_by(shape).train()
    flat = torch.from_numpy(autograd.initial(shape, 7, 3))
    state, place = module.state_dict(), 0
    for part in shape.parts:
        count = int(np.prod(part.size))
        state[part.name].copy_(flat[place : place + count].view(part.size))
        place += count
    steps = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    order = np.random.default_rng(np.random.SeedSequence([7, 1, 0])).permutation(40)
    data = examples()
    for rows in torch.from_numpy(order).split(16):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(module(data.x[rows]), data.y[rows]).backward()
        steps.step()
    member = Progress(3, lr=0.01, l1=0, l2=0, dropout=0, epochs=9)
    setting = Setting(shape, 16, "sgd", "log_loss", 9, 7)
    (ours,) = train([member], setting, data, until=1)
    state = module.state_dict()
    expected = torch.cat([state[part.name].flatten() for part in shape.parts])
    np.testing.assert_allclose(ours.parameters, expected.numpy(), atol=1e-5)


def test_a_member_equals_itself_alone_and_cut(net: str) -> None:
    shape = own.shape_of_own(net, {"net.rate": 0.3}, 5, 3, None)
    setting = Setting(shape, 16, "adam", "log_loss", 9, 7)
    members = [Progress(n, lr=0.01, l1=0, l2=1e-4, dropout=0, epochs=9) for n in range(3)]
    together = train(members, setting, examples(), until=4)
    cut = train(train(members[1:2], setting, examples(), until=2), setting, examples(), until=4)
    assert cut[0].curve == together[1].curve
    assert np.array_equal(cut[0].parameters, together[1].parameters)


def trained(name: str, numbers: range = range(1)) -> tuple[Own, list[Progress]]:
    """Trials after two epochs, with their shape."""
    own.name_network(f"{FILE}:{name}")
    shape = own.shape_of_own(f"{FILE}:{name}", {}, 5, 3, None)
    members = [Progress(n, lr=0.1, l1=0, l2=1e-2, dropout=0, epochs=9) for n in numbers]
    return shape, train(members, Setting(shape, 16, "adam", "log_loss", 9, 7), examples(), until=2)


def test_what_the_code_froze_stays_as_it_was() -> None:
    shape, (member,) = trained("Frozen")
    kept = member.parameters == autograd.initial(shape, 7, 0)
    assert [(part.name, part.size) for part in shape.parts if part.kind == "buffer"] == [
        ("first.weight", (4, 5))
    ]
    assert kept[-20:].all()
    assert not kept[:-20].any()
    assert len(member.curve) == 2


def test_a_mask_that_is_not_finite_stays_the_codes_own() -> None:
    shape, (member,) = trained("Masked")
    assert "mask" not in {part.name for part in shape.parts}
    assert np.isfinite(member.curve).all()
    outputs = autograd.outputs(shape, member.best, np.eye(5, dtype=np.float32))
    assert np.isfinite(outputs).all()


def test_a_batch_that_is_changed_in_place_is_the_members_own() -> None:
    shape, together = trained("InPlace", range(3))
    _, alone = trained("InPlace", range(2, 3))
    assert alone[0].curve == together[2].curve
    x = np.ones((2, 5), np.float32)
    autograd.outputs(shape, alone[0].best, x)
    assert (x == 1).all()


def test_a_row_left_over_is_no_batch_of_its_own(net: str) -> None:
    shape = own.shape_of_own(net, {}, 5, 3, None)
    setting = Setting(shape, 13, "adam", "log_loss", 9, 7)  # three batches, of 40 rows
    member = Progress(0, lr=0.01, l1=0, l2=0, dropout=0, epochs=9)
    (whole,) = train([member], setting, examples(), until=4)
    (cut,) = train(train([member], setting, examples(), until=2), setting, examples(), until=4)
    assert cut.curve == whole.curve
    assert np.array_equal(cut.parameters, whole.parameters)


def test_examples_come_in_the_form_of_their_grid() -> None:
    text = f"{FILE}:Steps"
    own.name_network(text)
    grid = Grid(2, (9,), has_gaps=True)
    shape = own.shape_of_own(text, {"net.act": "tanh"}, grid.features + 3, 2, grid)
    assert shape.size == (6, 9)
    own.check_outputs(shape)
    outputs = autograd.outputs(
        shape, autograd.initial(shape, 0, 0), np.zeros((4, shape.inputs), np.float32)
    )
    assert outputs.shape == (4, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("net.py", "net.py names no network; write FILE.py:NAME, such as net.py:Net."),
        ("no.py:Net", "there is no file {cwd}/no.py with the network Net."),
        (f"{FILE}:net", f"{FILE} has no class net. Did you mean 'Net'?"),
    ],
)
def test_a_network_that_is_not_there_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        own.name_network(text)
    assert str(caught.value) == sentence.format(cwd=Path.cwd())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fails", "own.py: fails() cannot be made: ValueError: no network for 5"),
        ("wrong", "own.py: wrong() makes a int, and no torch module."),
    ],
)
def test_code_that_fails_is_one_sentence(name: str, sentence: str) -> None:
    own.name_network(f"{FILE}:{name}")
    with pytest.raises(UsageError) as caught:
        own.shape_of_own(f"{FILE}:{name}", {}, 5, 3, None)
    assert str(caught.value) == sentence


def test_outputs_of_the_wrong_size_are_said_before_the_search() -> None:
    text = f"{FILE}:Needs"
    own.name_network(text)
    with pytest.raises(UsageError) as caught:
        own.check_outputs(own.shape_of_own(text, {"net.width": 4}, 5, 3, None))
    assert str(caught.value) == (
        "own.py: Needs(width=4) gives (3, 7) for a batch of shape (3, 5); it has to give (3, 3): "
        "a row for each example, 3 numbers in each."
    )


def test_ranges_are_those_that_the_signature_names(net: str) -> None:
    with pytest.raises(UsageError) as caught:
        own.check_ranges(net, {"widht": None})
    assert str(caught.value) == (
        f"--set widht: {net} has no such argument; its hyperparameters are width, rate. "
        "Did you mean 'width'?"
    )
    own.name_network(f"{FILE}:Needs")
    with pytest.raises(UsageError, match="needs width, which has no default; --set width="):
        own.check_ranges(f"{FILE}:Needs", {})


def test_no_code_runs_that_was_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_named", {})
    with pytest.raises(UsageError) as caught:
        own.shape_of_own(NET, {}, 5, 3, None)
    assert str(caught.value) == (
        f"this needs the code of {NET}, which runs only if you say so: --network {NET}"
    )


def test_the_space_of_a_network_is_its_own_and_what_all_have() -> None:
    space = build(
        {"model": f"mlp,{NET}", "net.width": "4:16:log", "net.rate": "0:0.5", "net.act": "a,b"},
        networks={NET: {"net.width": 6}},
    )
    assert space.models == ("mlp", NET)
    names = [each.name for each in space.of(NET)]
    assert names == [
        "model", "l1", "l2", "batch_size", "epochs", "lr", "optimizer", "net.width", "net.rate",
        "net.act",
    ]  # fmt: skip
    assert space["net.width"].nearest(space["net.width"].initial) == 6
    assert space["net.rate"].initial == 0.25
    assert space.conditions["net.width"] == ("model", (NET,))
    again = [parse(each.name, each.text) for each in space.hyperparameters]
    assert again == list(space.hyperparameters)


def test_a_toml_file_has_a_table_for_it() -> None:
    text = f'model = "{NET}"\n[net]\nwidth = "4:16:log"\nact = ["a", "b"]\n'
    assert parse_toml(text, "s.toml") == {
        "model": NET, "net.width": "4:16:log", "net.act": "a,b",
    }  # fmt: skip


def test_a_range_of_another_network_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        build({"net.width": "4"})
    assert str(caught.value) == (
        "--set width is for a network of your own, and --model is mlp here."
    )


def table(path: Path) -> str:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 4))
    lines = [f"{','.join(f'{v:.3f}' for v in row)},{row[0] > row[1]}" for row in x]
    path.write_text("\n".join(["a,b,c,d,y", *lines]) + "\n")
    return str(path)


def test_a_network_is_searched_beside_a_perceptron_and_used(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "_named", {})
    shutil.copy(FILE, tmp_path / "mine.py")
    source, db = table(tmp_path / "t.csv"), tmp_path / "t.db"
    space = {"model": "mlp,mine.py:Net", "net.width": "4,8", "epochs": 3, "units": 4}
    view = search(source, "y", trials=6, space=space, db=db)
    models = {trial.params["model"] for trial in view.trials()}
    assert models == {"mlp", "mine.py:Net"}
    ours = next(t for t in view.trials() if t.params["model"] == "mine.py:Net" and t.value)
    assert "net.width" in ours.params

    monkeypatch.setattr(own, "_named", {})  # as in a command of its own
    made = ["refit", "--db", str(db), "--trial", str(ours.number), "-o", "m.nnt"]
    refused = RUN.invoke(app, made)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception).endswith("--network mine.py:Net")
    assert RUN.invoke(app, [*made, "--network", "mine.py:Net"]).exit_code == 0

    monkeypatch.setattr(own, "_named", {})
    tested = ["test", "--db", str(db)]
    assert str(RUN.invoke(app, tested).exception).endswith("--network mine.py:Net")
    assert RUN.invoke(app, [*tested, "--network", "mine.py:Net"]).exit_code == 0

    monkeypatch.setattr(own, "_named", {})
    asked = ["predict", "m.nnt", source]
    assert str(RUN.invoke(app, asked).exception) == (
        "the code of mine.py:Net is not in the bundle and runs only if you name it: "
        "--network mine.py:Net, or in Python network='mine.py:Net'"
    )
    loaded = bundle.load("m.nnt", network="mine.py:Net")
    assert len(loaded.predict(source)) == 60
    shown = RUN.invoke(app, [*asked, "--network", "mine.py:Net"])
    assert set(shown.stdout.split()[1:]) <= {"true", "false", "True", "False"}
    assert bundle.read("m.nnt").shapes[0].file == "mine.py"
    told = RUN.invoke(app, ["export", "m.nnt", "--format", "torch", "-o", "m.pt"]).stdout
    width = bundle.read("m.nnt").params["net.width"]
    assert f"network = Net(inputs=4, outputs=2, width={width})  # of mine.py\n" in told
    kept = torch.load(tmp_path / "m.pt", weights_only=True)
    assert kept["norm.running_var"].shape == kept["first.bias"].shape


def test_configurations_without_a_network_are_failed_trials(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own, "_named", {})
    source, db = table(tmp_path / "t.csv"), tmp_path / "t.db"
    text = f"{FILE}:Heads"
    space = {"model": text, "net.heads": "1,2,3,4", "net.width": "6,8,9", "epochs": 1}
    view = search(source, "y", trials=8, space=space, db=db, confirm=0)
    told = {}
    for trial in view.trials():
        params = view.space.params(trial.params)
        told.setdefault(params["net.width"] % params["net.heads"] == 0, set()).add(trial.reason)
    assert told == {True: {"epochs"}, False: {"crashed (AssertionError) at epoch 0"}}


def test_a_network_that_changed_is_another_study(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = FILE.read_text()
    (tmp_path / "mine.py").write_text(code)
    source, db = table(tmp_path / "t.csv"), tmp_path / "t.db"
    space = {"model": "mine.py:Net", "epochs": 1}
    search(source, "y", trials=1, space=space, db=db)
    (tmp_path / "mine.py").write_text(code + "\n")
    with pytest.raises(Exception, match="network sha256"):
        search(source, "y", trials=2, space=space, db=db)
    assert len(study.read(db).trials()) == 1


def test_a_network_that_changed_is_neither_made_again_nor_loaded(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.read_text())
    source, db = table(tmp_path / "t.csv"), str(tmp_path / "t.db")
    search(source, "y", trials=1, space={"model": "mine.py:Net", "epochs": 1}, db=db, confirm=0)
    named = ["--network", "mine.py:Net"]
    assert RUN.invoke(app, ["refit", "--db", db, "-o", "m.nnt", *named]).exit_code == 0
    before = own.name_network("mine.py:Net").digest
    (tmp_path / "mine.py").write_text(FILE.read_text().replace("relu()", "tanh()"))
    after = own.name_network("mine.py:Net").digest
    for whose, command in (
        ("study 't'", ["refit", "--db", db, "-o", "n.nnt"]),
        ("study 't'", ["refit", "--as-searched", "--db", db, "-o", "n.nnt"]),
        ("study 't'", ["confirm", "--db", db]),
        ("study 't'", ["test", "--db", db]),
        ("the bundle", ["predict", "m.nnt", source]),
        ("the bundle", ["evaluate", "m.nnt", source]),
    ):
        refused = RUN.invoke(app, [*command, *named]).exception
        assert isinstance(refused, RefusedError)
        assert str(refused) == (
            f"the code of mine.py:Net is not that of {whose}: sha256 {before[:12]} -> "
            f"{after[:12]}; bring the old code back, or search with --study NAME for a new study."
        )


def test_a_bundle_that_does_not_know_its_code_goes_on(net: str) -> None:
    shape = own.shape_of_own(net, {}, 5, 3, None)
    old = checks.described(shape)
    del old["digest"], old["given"]
    (read,) = checks.shapes({"shapes": [old]}, "m.nnt")
    assert own.located(read) == shape._replace(given=None)
    assert sequential(read).endswith("  # of own.py; leave out what it does not take")


def test_what_a_network_imports_from_its_folder_is_part_of_its_hash(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own, "_named", {})
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "parts_of_it" / "deep").mkdir(parents=True)
    files = {
        "mine.py": "import torch\nfrom parts_of_it.deep import one\ndef Net(): import beside\n",
        "beside.py": "import mine, parts_of_it.other\n'\\d'\n",  # which Python warns of
        "parts_of_it/deep/one.py": "from .. import other\n",  # a package without __init__.py
        "parts_of_it/other.py": "a = 1\n",
        "alone.py": "def Net(): pass\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def digest(name: str) -> str:
        return own.name_network(f"{tmp_path / name}:Net").digest

    before, alone = digest("mine.py"), digest("alone.py")
    assert alone == hashlib.sha256(files["alone.py"].encode()).hexdigest()
    for name in ("beside.py", "parts_of_it/deep/one.py", "parts_of_it/other.py"):
        (tmp_path / name).write_text(files[name] + "b = 2\n")
        assert digest("mine.py") != before
        (tmp_path / name).write_text(files[name])
        assert digest("mine.py") == before
    (tmp_path / "alone.py").write_text("b = 2\n")
    assert digest("mine.py") == before


def test_a_network_that_changes_while_it_is_searched_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own, "_named", {})
    file = tmp_path / "mine.py"
    file.write_text(FILE.read_text())
    own.name_network(f"{file}:Net")
    shape = own.shape_of_own(f"{file}:Net", {}, 5, 3, None)
    file.write_text(FILE.read_text().replace("relu()", "tanh()"))
    own._class.cache_clear()  # as in a worker that begins now
    with pytest.raises(RefusedError, match=r"mine.py is not that of the running command: sha256"):
        own.made_by(shape)


@pytest.mark.parametrize(
    ("name", "params", "sentence"),
    [
        ("Empty", {}, "Empty() has nothing to train; it needs parameters, such as nn.Linear has."),
        (
            "Exits", {"net.always": 1},
            "Exits(always=1) fails on a batch of shape (3, 5): RuntimeError: sys.exit(3) in the "
            "code of the network",
        ),
    ],
)  # fmt: skip
def test_a_network_that_cannot_learn_is_said_before_the_search(name, params, sentence) -> None:
    own.name_network(f"{FILE}:{name}")
    with pytest.raises(UsageError) as caught:
        own.check_outputs(own.shape_of_own(f"{FILE}:{name}", params, 5, 3, None))
    assert str(caught.value) == f"own.py: {sentence}"


def test_code_that_ends_the_program_in_training_is_to_blame_by_its_place() -> None:
    with pytest.raises(RuntimeError) as caught:
        trained("Exits")
    line = 1 + FILE.read_text().splitlines().index("            sys.exit(3)")
    assert failure_of(caught.value).place == f"own.py:{line}"


def test_lazy_modules_take_their_sizes_from_the_first_batch() -> None:
    shape, (member,) = trained("Lazy")
    sizes = {part.name: part.size for part in shape.parts}
    assert (sizes["last.weight"], sizes["norm.running_var"]) == ((3, 5), (5,))
    assert not (member.parameters == autograd.initial(shape, 7, 0)).all()
    assert (autograd.initial(shape, 7, 0) == autograd.initial(shape, 7, 0)).all()


def test_a_network_that_crashes_is_mended_in_a_fresh_study(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.read_text())
    source, db = table(tmp_path / "t.csv"), tmp_path / "t.db"
    space = {"model": "mine.py:Exits", "epochs": 1}
    asked = {"trials": 3, "space": space, "db": db, "confirm": 0, "workers": 1}
    with pytest.raises(CrashError) as caught:
        search(source, "y", **asked)
    assert (
        str(caught.value)
        .splitlines()[0]
        .endswith(
            "; all finished trials are kept, the same command goes on once the cause is gone, with "
            "--fresh where that changed the network's code."
        )
    )
    (tmp_path / "mine.py").write_text(FILE.read_text().replace("sys.exit(3)", "pass"))
    assert len(search(source, "y", fresh=True, **asked).trials()) == 3


def test_numbers_that_are_none_may_be_the_networks_fault(tmp_path, monkeypatch) -> None:
    source, db = table(tmp_path / "t.csv"), tmp_path / "t.db"
    space = {"model": f"{FILE}:NaN", "epochs": 1}
    with pytest.raises(AllFailedError) as caught:
        search(source, "y", trials=1, space=space, db=db)
    assert str(caught.value) == (
        "the one trial failed (diverged at epoch 1); lower --lr or scale the data, or see what the "
        "network computes."
    )


def test_of_one_name_in_two_files_the_last_named_is_meant(tmp_path, net: str) -> None:
    shape = own.shape_of_own(net, {}, 5, 3, None)
    other = tmp_path / "other.py"
    other.write_text(FILE.read_text())
    own.name_network(f"{other}:Net")
    own.name_network(net)
    assert own.located(shape).file == str(FILE)
