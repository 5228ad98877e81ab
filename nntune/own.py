"""A network whose code is the user's: FILE.py:NAME, called with the arguments that it names.

`NAME(...)` gets, of these, what its signature names: `inputs`, how many numbers an example has;
`size`, their form: (inputs,) for tables, (channels, steps) for series, (channels, height, width)
for images; `outputs`, how many numbers it has to give, one for each class, or one; and the
hyperparameters that have a range. The module takes (B, *size) and gives (B, outputs).

Code runs only if the user names its file in the same command: neither a study nor a bundle can
make it run.
"""

import ast
import hashlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nntune.errors import RefusedError, UsageError, did_you_mean
from nntune.families import PREFIX, WORD, Grid, Own, Part

if TYPE_CHECKING:
    from torch import nn

GIVEN = ("inputs", "outputs", "size")
_named: dict[str, "Network"] = {}  # by FILE.py:NAME as the user wrote it in this command


class Network(NamedTuple):
    """The user's class as it was found."""

    file: str  # whole path
    name: str
    digest: str  # SHA-256 of the file and of those of its folder that it imports
    names: tuple[str, ...]  # of its arguments
    defaults: Mapping[str, Any]  # of those that have one

    @property
    def hyperparameters(self) -> list[str]:
        """Arguments that are not given anyway."""
        return [name for name in self.names if name not in GIVEN]


def name_network(text: str) -> Network:
    """Says that the user wants the code of FILE.py:NAME to run, and looks at its signature.

    Raises:
        UsageError: there is no such file or class, or the file's code fails.
    """
    match = WORD.fullmatch(text)
    if match is None:
        raise UsageError(f"{text} names no network; write FILE.py:NAME, such as net.py:Net.")
    file = str(Path(match["file"]).absolute())
    digest = _digest(file)
    made = _class(file, match["name"], digest)
    parameters = [
        each
        for each in inspect.signature(made).parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    empty = inspect.Parameter.empty
    network = Network(
        file,
        match["name"],
        digest,
        tuple(each.name for each in parameters),
        {each.name: each.default for each in parameters if each.default is not empty},
    )
    _named.pop(text, None)  # of one name in several files, the last named is meant
    _named[text] = network
    return network


def network_named(text: str) -> Network:
    """The network of a study, if the user named it in this command.

    Raises:
        UsageError: not named.
    """
    if text not in _named:
        raise UsageError(
            f"this needs the code of {text}, which runs only if you say so: --network {text}"
        )
    return _named[text]


def _digest(file: str) -> str:
    """SHA-256 of a file and of those in its folder and below that its code imports, and so on."""
    folder, texts, left = Path(file).parent, dict[Path, bytes](), [Path(file)]
    while left:
        path = left.pop()
        if folder in path.parents and path not in texts and path.is_file():
            with suppress(OSError):  # running it will say so
                texts[path] = path.read_bytes()
                left += _imported(texts[path], path, folder)
    hashed = hashlib.sha256(texts.pop(Path(file), b""))
    for path in sorted(texts):
        hashed.update(f"\0{path.relative_to(folder).as_posix()}\0".encode() + texts[path])
    return hashed.hexdigest()


def _imported(text: bytes, path: Path, folder: Path) -> Iterator[Path]:
    """Where the modules would lie that code names in its import statements."""
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):  # imported within `try`, or never
        return
    for node in nodes:
        names, start = [], folder
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [folder, *path.parents][: node.level + 1][-1]
            names = [f"{node.module or ''}.{each.name}".strip(".") for each in node.names]
        for name in names:
            place = start
            for part in name.split("."):
                place /= part
                yield from (place.with_suffix(".py"), place / "__init__.py")


def check_digest(text: str, digest: str, whose: str) -> None:
    """Refuse code that is not the code of a study or bundle, if the user named it.

    Args:
        text: FILE.py:NAME.
        digest: that the study or bundle remembers.
        whose: which of them.

    Raises:
        RefusedError: with both digests.
    """
    if text in _named:
        _check_equal(text, whose, digest, _named[text].digest)


def _check_equal(code: str, whose: str, before: str, now: str) -> None:
    if before != now:
        raise RefusedError(
            f"the code of {code} is not that of {whose}: sha256 {before[:12]} -> {now[:12]}; "
            "bring the old code back, or search with --study NAME for a new study."
        )


def located(shape: Own) -> Own:
    """The shape of a bundle with the code that the user named in this command.

    Raises:
        UsageError: not named, or it makes other tensors than the bundle has.
        RefusedError: the code is another one.
    """
    text = f"{shape.file}:{shape.name}"
    named = [text for text, each in _named.items() if each.name == shape.name]
    if not named:
        raise UsageError(
            f"the code of {text} is not in the bundle and runs only if you name it: "
            f"--network {text}, or in Python network={text!r}"
        )
    if shape.digest:
        check_digest(named[-1], shape.digest, "the bundle")
    network = _named[named[-1]]
    found = shape._replace(file=network.file, digest=network.digest)
    if _with_parts(found._replace(parts=())).parts != found.parts:
        raise UsageError(f"{found.file}: {shape.name} makes other tensors than the bundle has.")
    return found


def check_ranges(text: str, ranges: Mapping[str, object]) -> None:
    """Refuse ranges for what the network does not take, and missing ones for what it needs.

    Args:
        text: FILE.py:NAME, which was named.
        ranges: by name of the hyperparameter, without the prefix.

    Raises:
        UsageError: the sentence says which.
    """
    network = network_named(text)
    for name in ranges:
        if name not in network.hyperparameters:
            takes = ", ".join(network.hyperparameters) or "none"
            hint = did_you_mean(name, network.hyperparameters)
            raise UsageError(
                f"--set {name}: {text} has no such argument; its hyperparameters are {takes}.{hint}"
            )
    for name in network.hyperparameters:
        if name not in ranges and name not in network.defaults:
            raise UsageError(
                f"{text} needs {name}, which has no default; "
                f"--set {name}=16:128:log, for example, gives it a range."
            )


def shape_of_own(
    text: str, params: Mapping[str, Any], inputs: int, outputs: int, grid: Grid | None
) -> Own:
    """The network that a configuration describes; makes it once to see its tensors.

    Raises:
        UsageError: the network was not named, cannot be made or gives something else than asked.
    """
    network = network_named(text)
    arguments = tuple(
        (name, params[PREFIX + name]) for name in network.hyperparameters if PREFIX + name in params
    )
    file, name = network.file, network.name
    given = tuple(name for name in GIVEN if name in network.names)
    return _with_parts(Own(inputs, grid, file, name, arguments, outputs, (), network.digest, given))


@cache
def _with_parts(bare: Own) -> Own:
    with seeded(0):
        return bare._replace(parts=_parts(made_by(bare)))


def check_outputs(shape: Own) -> None:
    """Refuse a network that does not give (B, outputs) for (B, *size).

    Raises:
        UsageError: says what it gives, or that it learns nothing.
    """
    import torch

    what = _called(shape)
    with seeded(0):
        found = _answer(made_by(shape), shape)
    size = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    wanted = [(3, shape.outputs)] + [(3,)] * (shape.outputs == 1)
    if size not in wanted:
        raise UsageError(
            f"{what} gives {size} for a batch of shape {(3, *shape.size)}; it has to give "
            f"{wanted[0]}: a row for each example, {shape.outputs} numbers in each."
        )
    if all(part.kind == "buffer" for part in shape.parts):
        raise UsageError(
            f"{what} has nothing to train; it needs parameters, such as nn.Linear has."
        )


def _answer(module: "nn.Module", shape: Own) -> Any:
    import torch

    size = (3, *shape.size)
    try:
        with torch.no_grad(), staying():
            return module.eval()(torch.zeros(size))
    except Exception as error:
        raise UsageError(
            f"{_called(shape)} fails on a batch of shape {size}: {_told(error)}"
        ) from error


def made_by(shape: Own) -> "nn.Module":
    """The module, as its code makes it.

    Raises:
        UsageError: the code fails, or makes something else.
    """
    from torch import nn
    from torch.nn.parameter import is_lazy

    made = _class(shape.file, shape.name, shape.digest)
    given = {"inputs": shape.inputs, "outputs": shape.outputs, "size": shape.size}
    names = inspect.signature(made).parameters
    arguments = {name: value for name, value in given.items() if name in names}
    try:
        with staying():
            module = made(**arguments, **dict(shape.arguments))
    except Exception as error:
        raise UsageError(f"{_called(shape)} cannot be made: {_told(error)}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{_called(shape)} makes a {type(module).__name__}, and no torch module.")
    if any(is_lazy(each) for each in (*module.parameters(), *module.buffers())):
        _answer(module, shape)  # its tensors take their sizes from the first batch
        module.train()
    return module


def first_numbers(shape: Own, seed: int, number: int) -> np.ndarray:  # (P,) float32
    """Initial parameters as its code draws them, fixed by (study seed, trial number)."""
    import torch

    words = np.random.SeedSequence([seed, 0, number]).generate_state(1, np.uint64)
    with seeded(int(words[0]) & (2**63 - 1)), torch.enable_grad():
        state = _tensors(made_by(shape))
    flat = [state[part.name].detach().to(torch.float32).reshape(-1) for part in shape.parts]
    return np.asarray(torch.cat(flat).numpy())


def _called(shape: Own) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in shape.arguments)
    return f"{Path(shape.file).name}: {shape.name}({arguments})"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _tensors(module: "nn.Module") -> dict[str, Any]:
    """What the module learns and remembers; whole numbers, such as counts, stay its own.

    So do buffers that are not finite, such as the mask of an attention: they have no average.
    """
    found: dict[str, Any] = dict(module.named_parameters())
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point() and buffer.isfinite().all():
            found[name] = buffer
    return found


def _parts(module: "nn.Module") -> tuple[Part, ...]:
    """Its tensors as parts: matrices are weights, which are penalised; vectors are biases."""
    trained = {name for name, each in module.named_parameters() if each.requires_grad}
    found = []
    for name, tensor in _tensors(module).items():
        kind = "buffer" if name not in trained else "weight" if tensor.ndim > 1 else "bias"
        found.append(Part(name, tuple(tensor.shape), kind))
    order = ("weight", "bias", "buffer")
    return tuple(sorted(found, key=lambda part: order.index(part.kind)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from a seed; the process's own go on behind as they were."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def staying() -> Iterator[None]:
    """Of the user's code, sys.exit is a mistake like others, and no end of this program."""
    try:
        yield
    except SystemExit as error:
        mistake = RuntimeError(f"sys.exit({error.code!r}) in the code of the network")
        raise mistake.with_traceback(error.__traceback__) from None


@cache
def _class(file: str, name: str, digest: str) -> Any:
    """The class or function in the file; its folder is searched for what it imports.

    Raises:
        UsageError: there is none, or the code fails.
        RefusedError: the file was changed after it was named.
    """
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file} with the network {name}.")
    _check_equal(file, "the running command", digest, _digest(file))
    title = f"nntune_network_{hashlib.sha256(f'{file} {digest}'.encode()).hexdigest()[:12]}"
    if title not in sys.modules:
        _run(file, title)
    made = getattr(sys.modules[title], name, None)
    if not callable(made):
        there = [n for n, each in vars(sys.modules[title]).items() if inspect.isclass(each)]
        raise UsageError(f"{file} has no class {name}.{did_you_mean(name, there)}")
    return made


def _run(file: str, title: str) -> None:
    spec = spec_from_file_location(title, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[title] = module
    sys.path.insert(0, str(Path(file).parent))
    try:
        with staying():
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[title]
        raise UsageError(f"the code of {file} fails: {_told(error)}") from error
    finally:
        sys.path.remove(str(Path(file).parent))
