import math
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nntune import space
from nntune.errors import UsageError
from nntune.export.configuration import space_toml
from nntune.space import Hyperparameter, build, parse, parse_toml
from nntune.space.hyperparameter import written

INTEGERS = ("hidden_layers", "units", "batch_size", "epochs")
FRACTIONS = ("dropout", "l1", "l2", "lr")
WORDS = ("shape", "activation", "optimizer")


def mistake(name: str, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(name, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hidden_layers", "1:4", Hyperparameter("hidden_layers", 1, 4)),
        ("units", "16:512:log", Hyperparameter("units", 16, 512, log=True)),
        ("units", "32:128:32", Hyperparameter("units", 32, 128, step=32)),
        ("dropout", "0:0.5:0.1", Hyperparameter("dropout", 0.0, 0.5, step=0.1)),
        ("batch_size", "64,32", Hyperparameter("batch_size", 32, 64, choices=(32, 64))),
        ("activation", "tanh,ReLU", Hyperparameter("activation", choices=("relu", "tanh"))),
        ("l2", "0,1e-6:1e-2:log", Hyperparameter("l2", 1e-6, 1e-2, log=True, zero=True)),
        ("epochs", "1e2", Hyperparameter("epochs", 100, 100, choices=(100,))),
        ("lr", " 1e-4 : 1e-1 : log ", Hyperparameter("lr", 1e-4, 1e-1, log=True)),
        ("lr", "loguniform(1e-4, 1e-1)", Hyperparameter("lr", 1e-4, 1e-1, log=True)),
        ("dropout", "uniform(0,0.5)", Hyperparameter("dropout", 0.0, 0.5)),
        ("hidden_layers", "int(1,4)", Hyperparameter("hidden_layers", 1, 4)),
        ("units", "choice(16, 32)", Hyperparameter("units", 16, 32, choices=(16, 32))),
        ("optimizer", "choice(['adam', 'sgd'])", parse("optimizer", "adam,sgd")),
    ],
)
def test_each_kind_of_range_is_read(name: str, text: str, expected: Hyperparameter) -> None:
    assert parse(name, text) == expected


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("0.0:1.0", 0.5, float),
        ("1.0:100.0:log", 10.0, float),
        ("0.0:4.0:2.0", 2.0, float),
        ("1.0,2.0", 2.0, float),
        ("0:0.5", 0.25, float),
        ("1e2", 100.0, float),
        ("1:100:log", 10, int),
        ("1,2", 2, int),
        ("ReLU,GELU", "ReLU", str),
    ],
)
def test_a_range_of_the_users_own_network_keeps_its_kind(text: str, value: object, kind) -> None:
    found = build({"model": "net.py:Net", "net.p": text})
    toml = parse_toml(found.to_toml(), "space.toml")
    fixed = parse_toml(space_toml({"net.p": value}, "trial #3"), "space.toml")
    for again in (found["net.p"], build(toml)["net.p"], parse("net.p", fixed["net.p"])):
        assert again.rule.kind is kind
        assert again.contains(value)
    assert build(toml) == found
    assert isinstance(found["net.p"].nearest(value), kind)


def test_wider_ranges_of_the_users_own_network_keep_their_kind() -> None:
    texts = ("1.0:3.0", "1:3", "1.0,2.0,4.0")
    assert [parse("net.p", text).widened("high") for text in texts] == [
        "1.0:5.0", "1:5", "1.0,2.0,4.0,8.0",
    ]  # fmt: skip


def test_numbers_of_a_file_are_fractions_where_they_are_written_so() -> None:
    text = "[net]\np = { low = 0.0, high = 1.0 }\nq = [1.0, 2.0]\nn = 8\n"
    assert parse_toml(text, "s.toml") == {"net.p": "0.0:1.0", "net.q": "1.0,2.0", "net.n": "8"}


MISTAKES = [
    ("hidden_layers", "4:1", "the bounds are reversed; write 1:4"),
    ("lr", "1e-1:1e-4:log", "the bounds are reversed; write 1e-4:1e-1:log"),
    ("units", "64:64", "both ends are equal; write 64 to fix it, or move one end"),
    (
        "l2",
        "0:1e-2:log",
        "a log range cannot begin at 0; write 0,1e-6:1e-2:log for zero or a log range",
    ),
    (
        "lr",
        "0:1:log",
        "a learning rate is above 0 and at most 1000, 0 is not; for example 3e-4:3e-2:log",
    ),
    (
        "lr",
        "-1e-3:1:log",
        "a learning rate is above 0 and at most 1000, -1e-3 is not; for example 3e-4:3e-2:log",
    ),
    ("dropout", "1", "a dropout is at least 0 and below 1, 1 is not; for example 0:0.5"),
    ("dropout", "0:1.5", "a dropout is at least 0 and below 1, 1.5 is not; for example 0:0.5"),
    ("dropout", "-0.1", "a dropout is at least 0 and below 1, -0.1 is not; for example 0:0.5"),
    ("l1", "-1", "a penalty lies between 0 and 1e6, -1 is not; for example 0"),
    ("units", "0", "a layer has 1 to 65536 units, 0 is not; for example 16,32,64,128,256"),
    ("units", "1e9", "a layer has 1 to 65536 units, 1e9 is not; for example 16,32,64,128,256"),
    ("epochs", "0", "training takes 1 to 1000000 epochs, 0 is not; for example 100"),
    (
        "dropout",
        "[0,0.5]",
        "brackets have two readings; write 0:0.5 for the range from 0 to 0.5, "
        "or 0,0.5 for these two values",
    ),
    ("activation", "[relu,tanh]", "leave out the brackets: relu,tanh"),
    ("units", "16:wide", "'wide' is not a number; write for example 16,32,64,128,256"),
    ("units", ":64", "a number is missing; write for example 16,32,64,128,256"),
    ("units", "16,,64", "a value is missing beside a comma; write for example 16,32,64,128,256"),
    ("units", "16.5", "16.5 is not a whole number; write for example 16,32,64,128,256"),
    ("units", "16:64:0.5", "0.5 is not a whole number; write for example 16,32,64,128,256"),
    ("units", "16:64:0", "the step must be above 0; leave it out for every value in between"),
    ("units", "16:64:-8", "the step must be above 0; leave it out for every value in between"),
    ("units", "16:64:90", "the step is larger than the range; write 16,64"),
    (
        "units",
        "16:100:32",
        "steps of 32 from 16 reach 80, not 100; write 16:80:32 or 16:112:32",
    ),
    (
        "dropout",
        "0:0.5:0.2",
        "steps of 0.2 from 0 reach 0.4, not 0.5; write 0:0.4:0.2 or 0:0.6:0.2",
    ),
    ("units", "16,16", "16 stands there twice; name each choice once"),
    ("units", "16,16.0", "the same number stands there twice; name each choice once"),
    (
        "activation",
        "rellu",
        "'rellu' is not known; there are relu, tanh, gelu, silu. Did you mean 'relu'?",
    ),
    ("shape", "42", "'42' is not known; there are flat, taper"),
    ("optimizer", "adam:sgd", "these are words, not a range; write one or more of adam, sgd"),
    ("lr", "nan", "nan is not a finite number; write for example 3e-4:3e-2:log"),
    ("lr", "1e-3:inf", "inf is not a finite number; write for example 3e-4:3e-2:log"),
    ("lr", "1:2:log:3", "a range has two or three parts: LO:HI, LO:HI:log or LO:HI:STEP"),
    ("lr", "1e-4:1e-1:lgo", "the third part is log or a step, not 'lgo'"),
    ("l2", "0,1e-6:1e-2", "zero may stand before a log range only; write 0,1e-6:1e-2:log"),
    (
        "hidden_layers",
        "0,1:4:log",
        "zero before a range is for numbers that need not be whole; write 0,1,4",
    ),
    (
        "l2",
        "1,1e-6:1e-2:log",
        "a list holds single values and a range stands alone; only zero may stand before a log "
        "range, as in 0,1e-6:1e-2:log",
    ),
    (
        "lr",
        "0,1e-4:1e-1:log",
        "a learning rate is above 0 and at most 1000; leave out the zero: 1e-4:1e-1:log",
    ),
    (
        "dropout",
        "int(0,1)",
        "whole numbers only would leave nothing in between; write 0:1",
    ),
    (
        "lr",
        "normal(0,1)",
        "write LO:HI, LO:HI:log or A,B,C; of other forms loguniform(a,b), uniform(a,b), int(a,b) "
        "and choice(a,b) are understood; for example 3e-4:3e-2:log",
    ),
]


@pytest.mark.parametrize(("name", "text", "sentence"), MISTAKES)
def test_each_mistake_has_its_own_sentence(name: str, text: str, sentence: str) -> None:
    assert mistake(name, text) == f"--{name.replace('_', '-')} {text}: {sentence}"


def test_an_empty_range_is_shown_in_quotes() -> None:
    assert mistake("lr", "") == "--lr '': there is no value; write for example 3e-4:3e-2:log"


@pytest.mark.parametrize(
    ("name", "hint"), [("learning_rate", "lr"), ("unitz", "units"), ("weight-decay", "l2")]
)
def test_an_unknown_name_lists_the_names(name: str, hint: str) -> None:
    assert mistake(name, "1") == (
        f"no hyperparameter named '{name}'; there are {', '.join(space.NAMES)}. "
        f"Did you mean '{hint}'?"
    )


def test_the_default_configuration_is_in_the_default_space() -> None:
    found = build({})
    assert found.default == {
        "hidden_layers": 2,
        "units": 128,
        "shape": "flat",
        "dropout": 0.1,
        "l1": 0.0,
        "l2": 1e-5,
        "batch_size": 64,
        "epochs": 100,
        "lr": 1e-3,
        "activation": "relu",
        "optimizer": "adam",
    }
    assert all(each.contains(found.default[each.name]) for each in found.hyperparameters)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-2:1e-1:log", 1e-2),
        ("units", "16:100:12", 100),
        ("units", "24,512", 24),
        ("dropout", "0.15:0.45:0.1", 0.15),
        ("activation", "gelu,silu", "gelu"),
        ("l2", "0,1e-4:1e-2:log", 1e-4),
        ("hidden_layers", "3:9", 3),
    ],
)
def test_trial_zero_takes_the_closest_value_allowed(name: str, text: str, value: object) -> None:
    assert build({name: text}).default[name] == value


@pytest.mark.parametrize(
    ("rows", "text"),
    [(3, "8"), (60, "8"), (100, "8,16"), (200, "16,32"), (400, "32,64"), (5000, "32,64,128,256")],
)
def test_small_tables_get_small_batches(rows: int, text: str) -> None:
    assert dict_of(build({}, rows=rows))["batch_size"] == text


def dict_of(found: space.Space) -> dict[str, str]:
    return {each.name: each.text for each in found.hyperparameters}


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(
        'lr = { low = 1e-4, high = 0.1, log = true }\nunits = [32, 64]\nepochs = 7\ndropout = "0"\n'
        "l1 = { low = 1e-6, high = 1e-3, log = true, zero = true }\n"
        "hidden_layers = { low = 1, high = 7, step = 2 }"
    )
    found = dict_of(build({"epochs": "9"}, file))
    assert found == dict_of(build({})) | {
        "lr": "1e-4:1e-1:log",
        "units": "32,64",
        "epochs": "9",
        "dropout": "0",
        "l1": "0,1e-6:1e-3:log",
        "hidden_layers": "1:7:2",
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("lr = ", "{file} is not valid TOML: Invalid value (at end of document)"),
        ("units = 8\nlr = 1 2\n", "{file} is not valid TOML: Expected newline"),
        ("rate = 1", "{file}: no hyperparameter named 'rate'; there are model"),
        ('units = "9:1"', "{file}: units 9:1: the bounds are reversed; write 1:9"),
        ("lr = true", "{file}: lr is true or false; write a range in quotes, or a number"),
        ("lr = nan", "{file}: lr nan: nan is not a finite number"),
        ("lr = 2020-01-01", "{file}: lr is of type date; write a range in quotes"),
        ("net = 5", "{file}: net is a table; write [net] and below it NAME = RANGE."),
        ("lr = []", "{file}: lr '': there is no value"),
        ("lr = {low = 1}", "{file}: lr has no key 'high'; write {{ low = ..., high = ... }}"),
        ("lr = {lo = 1}", "{file}: lr has no key 'lo'; there are low, high, log, step, zero"),
        ("lr = {low = 1, high = 2, step = 1, log = true}", "{file}: lr 1:2:1:log: a range has"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        build({}, file)
    assert str(caught.value).startswith(sentence.format(file=file))


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no space file"):
        build({}, tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="cannot be read as a space file: Is a directory"):
        build({}, tmp_path)
    (tmp_path / "junk").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not a text file in UTF-8"):
        build({}, tmp_path / "junk")


@pytest.mark.parametrize(
    ("name", "text", "value", "edge"),
    [
        ("lr", "1e-4:1e-1:log", 1.2e-4, "low"),
        ("lr", "1e-4:1e-1:log", 9e-2, "high"),
        ("lr", "1e-4:1e-1:log", 1e-3, None),
        ("lr", "1e-3", 1e-3, None),
        ("hidden_layers", "1:4", 4, "high"),
        ("hidden_layers", "1:4", 1, "low"),
        ("hidden_layers", "0:2", 0, None),
        ("hidden_layers", "2:4", 2, "low"),
        ("dropout", "0:0.5", 0.0, None),
        ("dropout", "0:0.5", 0.49, "high"),
        ("units", "16,32,64", 16, "low"),
        ("units", "16,32,64", 64, "high"),
        ("units", "16,32,64", 32, None),
        ("units", "16,32", 16, None),
        ("l2", "0,1e-6:1e-2:log", 0.0, None),
        ("l2", "0,1e-6:1e-2:log", 1e-6, "low"),
        ("activation", "relu,tanh,gelu", "relu", None),
        ("units", "64:256:64", 64, None),
        ("units", "1024:65536:log", 65536, None),
        ("dropout", "0:0.9:0.1", 0.9, None),
        ("net.width", "1:8:log", 1, None),
    ],
)
def test_an_edge_is_an_end_that_could_be_moved(
    name: str, text: str, value: float, edge: str | None
) -> None:
    assert parse(name, text).edge(value) == edge


@pytest.mark.parametrize(
    ("name", "text", "low", "high"),
    [
        ("lr", "1e-4:1e-1:log", "1e-5:1e-1:log", "1e-4:1:log"),
        ("lr", "1e-3,3e-3,1e-2", "5e-4,0.001,0.003,0.01", "0.001,0.003,0.01,0.02"),
        ("l2", "0,1e-6:1e-2:log", "0,1e-7:1e-2:log", "0,1e-6:1e-1:log"),
        ("l2", "0.1:0.3", "0:0.3", "0.1:0.5"),
        ("dropout", "0.05:0.5:0.05", "0:0.5:0.05", "0.05:0.95:0.05"),
        ("dropout", "0:0.5:0.1", None, "0:0.7:0.1"),
        ("dropout", "0.2:0.7:0.25", None, "0.2:0.95:0.25"),
        ("dropout", "0.2,0.4,0.6", "0.1,0.2,0.4,0.6", "0.2,0.4,0.6,0.8"),
        ("units", "64:256:64", None, "64:448:64"),
        ("units", "128:256:64", "64:256:64", "128:384:64"),
        ("units", "16,32,64", "8,16,32,64", "16,32,64,128"),
        ("units", "16:40000:log", "2:40000:log", "16:65536:log"),
        ("batch_size", "8:1000000", "1:1000000", "8:1048576"),
        ("kernel", "3:9:2", "1:9:2", "3:15:2"),
        ("net.width", "16:128:log", "2:128:log", "16:1280:log"),
        ("net.width", "4:8", "1:8", "4:12"),
        ("net.gain", "-1.5:0.5", "-3.5:0.5", "-1.5:2.5"),
        ("net.gain", "-2,-1,0", "-4,-2,-1,0", "-2,-1,0,2"),
    ],
)
def test_a_range_is_widened_to_one_that_is_accepted(
    name: str, text: str, low: str | None, high: str
) -> None:
    each = parse(name, text)

    for value, edge, wider in zip(each.bounds, ("low", "high"), (low, high), strict=True):
        assert each.edge(value) == (edge if wider else None)
        if wider:
            assert each.widened(edge) == wider
            assert all(map(parse(name, wider).contains, each.bounds))


def test_zero_or_log_is_two_optuna_parameters_and_comes_back_as_one() -> None:
    found = build({"l2": "0,1e-6:1e-2:log", "units": "16", "hidden_layers": "2"})
    assert {"l2", "l2_zero"} < set(found.distributions())
    kept = {"dropout": 0.1, "l2_zero": True, "batch_size": 32, "lr": 1e-3}
    whole = found.params(kept)
    assert (whole["l2"], whole["units"]) == (0.0, 16)
    assert found.optuna_params(whole) == kept
    assert found.optuna_params(whole | {"l2": 1e-4}) == kept | {"l2_zero": False, "l2": 1e-4}
    fixed = build({"l2": "1e-4", "units": "16", "hidden_layers": "2"})
    assert fixed.params(kept)["l2"] == 0.0  # what the trial was trained with


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, str]:
    """A hyperparameter and a range that the grammar allows."""
    name = draw(st.sampled_from([*INTEGERS, *FRACTIONS, *WORDS]))
    rule = space.RULES[name]
    if name in WORDS:
        words = st.lists(st.sampled_from(rule.options), min_size=1, unique=True)
        return name, ",".join(draw(words))
    floor = max(rule.low, 1 if name in INTEGERS else 1e-9)
    inside = (
        st.integers(1, int(rule.high))
        if name in INTEGERS
        else st.floats(floor, min(rule.high, 900.0), allow_subnormal=False)
    )
    numbers = sorted(draw(st.lists(inside, min_size=2, max_size=5, unique=True)))
    forms = ["{0}", ",".join(map(str, numbers)), "{0}:{1}", "{0}:{1}:log"]
    if name not in INTEGERS and name != "lr":
        forms.append("0,{0}:{1}:log")
    if name in INTEGERS:
        forms.append(f"{{0}}:{{1}}:{numbers[-1] - numbers[0]}")
    return name, draw(st.sampled_from(forms)).format(numbers[0], numbers[-1])


@settings(deadline=None, max_examples=150)
@given(st.lists(ranges(), max_size=4).map(dict))
def test_what_parse_accepts_optuna_samples_and_toml_keeps(overrides: dict[str, str]) -> None:
    found = build(overrides)
    assert build(space.parse_toml(found.to_toml(), "space.toml")) == found
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(3):
        params = found.suggest(study.ask())
        assert all(each.contains(params[each.name]) for each in found.hyperparameters)
    trial = study.ask(found.distributions())
    assert set(trial.params) == set(found.distributions())
    assert found.params(found.optuna_params(params)) == params


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_a_number_is_written_so_that_it_reads_back(number: float, in_powers: bool) -> None:
    assert float(written(number, in_powers)) == number


def test_steps_of_a_tenth_reach_the_end_without_a_warning_of_optuna() -> None:
    stepped = parse("dropout", "0:0.7:0.1")
    distribution = stepped.distributions()["dropout"]
    assert isinstance(distribution, optuna.distributions.FloatDistribution)
    assert math.isclose(distribution.high, 0.7)
    assert stepped.contains(0.1 + 0.2)
    assert not stepped.contains(0.25)
