"""The command that gives a winner to other programs: export."""

import shlex
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntune import outputs
from nntune.errors import NotFoundError, UsageError, did_you_mean
from nntune.options import Database, Force, study_named, writing

if TYPE_CHECKING:
    from nntune.bundle import Bundle

FORMATS = {"onnx": (".onnx",), "torch": (".pt", ".pth"), "script": (".py",), "toml": (".toml",)}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(export)


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE", show_default=False,
            help="Made by nntune refit; for toml the name or file of a study will do.",
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="onnx, torch, script or toml.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Instead of the bundle's name."),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option("--trial", metavar="N", help="Of a study, another trial than the best."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="For script: where the table is now."),
    ] = None,
    db: Database = None,
    force: Force = False,
) -> None:  # fmt: skip
    """Write the winner for other programs, or as a script.

    onnx: one graph from columns to predictions, encoding included.
    torch: the weights of an nn.Sequential, on encoded features.
    script: a PyTorch file that trains the best trial, without nntune.
    toml: its configuration, for --space.
    """
    from nntune import bundle

    if form == "bundle":
        raise UsageError(
            "--format bundle: a bundle is what nntune refit writes; "
            f"there are {', '.join(FORMATS)} to make of it."
        )
    if form not in FORMATS:
        hint = did_you_mean(form, FORMATS)
        raise UsageError(f"--format {form}: there are {', '.join(FORMATS)}.{hint}")
    if form != "toml" and (trial is not None or db is not None):
        raise UsageError(f"--format {form} is made of a bundle; nntune refit --trial N makes one.")
    path = output or _named(source, FORMATS[form][0])
    outputs.check_ending(path, FORMATS[form])
    outputs.check_free(path, force=force)
    if form == "toml":
        content, told = _toml(source, db, trial)
    else:
        content, told = _MAKERS[form](bundle.read(source), path, data)
    outputs.put(path, content, force=force)
    with writing():
        print(f"{path}: {told}")


def _named(source: str, ending: str) -> Path:
    """A file takes another ending; the name of a study keeps all of itself, dots included."""
    path = Path(source)
    return path.with_suffix(ending) if path.is_file() else Path(f"{source}{ending}")


def _onnx(bundle: "Bundle", path: Path, data: str | None) -> tuple[bytes, str]:
    from nntune.export.graph import onnx_model
    from nntune.export.layered import grid_of, input_of

    outputs = "label and probabilities" if bundle.classes else "value"
    content = onnx_model(bundle)
    count, grid = len(bundle.encoder["features"]), grid_of(bundle.shapes)
    columns = []
    if grid is not None:
        name, size = input_of(grid)
        columns.append(f"{name} of shape ({', '.join(map(str, size))})")
        count -= prod(grid.size) * grid.channels
    if count:
        columns.append(f"{count} columns, each of shape (rows, 1),")
    return content, f"{' and '.join(columns)} in; {outputs} out"


def _torch(bundle: "Bundle", path: Path, data: str | None) -> tuple[bytes, str]:
    from nntune.export.weights import own_classes, sequential, torch_state
    from nntune.families import Own

    content = torch_state(bundle)
    classes = own_classes(bundle.shape)
    classes += "\n\n" * bool(classes)
    strict = ", strict=False" * isinstance(bundle.shape, Own)  # counts that it keeps itself
    return content, (
        f"the weights, from {bundle.shape.inputs} encoded features; in Python\n\n"
        f"{classes}"
        f"network = {sequential(bundle.shape)}\n"
        f"network.load_state_dict(torch.load({path.name!r}, weights_only=True){strict})"
    )


def _script(bundle: "Bundle", path: Path, data: str | None) -> tuple[bytes, str]:
    from nntune.export.script import pytorch_script

    source = data or str(bundle.data.get("source", "-"))
    text = pytorch_script(bundle, source, path.name)
    lines = text.count("\n")
    return (
        text.encode(),
        f"{lines} lines; python {shlex.quote(str(path))} trains trial #{bundle.trials[0]}"
        + f", one network of the {len(bundle.trials)}" * (len(bundle.trials) > 1),
    )


def _toml(source: str, db: str | None, trial: int | None) -> tuple[bytes, str]:
    """Of a bundle if the file is one, else of a study."""
    from nntune import bundle
    from nntune.export.configuration import space_toml
    from nntune.space import explicit

    if db is None and Path(source).is_file() and not source.endswith(".db"):
        found = bundle.read(source)
        if trial is not None:
            raise UsageError(
                f"--trial {trial}: {source} holds the configuration of one trial only."
            )
        params, number, name = found.params, found.trials[0], str(found.metrics.get("study", ""))
    else:
        view = study_named(source, db)
        chosen = view.winner() if trial is None else view.trial(trial)
        if chosen is None:
            raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
        params, number, name = view.space.params(chosen.params), chosen.number, view.name
    text = space_toml(explicit(params), f"trial #{number} of {name}")
    return text.encode(), f"the configuration of trial #{number}, for nntune search --space"


_MAKERS: "dict[str, Callable[[Bundle, Path, str | None], tuple[bytes, str]]]" = {
    "onnx": _onnx,
    "torch": _torch,
    "script": _script,
}
