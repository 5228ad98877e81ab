"""What pages take from the code: help texts, tables and the worked example's output."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = (
    "nntune data studies/penguins.csv --target species",
    "nntune search studies/penguins.csv --target species --trials 64",
    "nntune trials penguins --top 3",
    "nntune refit penguins",
    "nntune predict penguins.nnt studies/penguins.csv --proba | head -3",
)
WIDTH = 100


def shell(command: str, folder: Path) -> str:
    """Standard output and error of a command, without blanks at line ends."""
    settings = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": ""}
    found = {
        **os.environ,
        **settings,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH"):
        found.pop(name, None)
    ran = subprocess.run(
        command, shell=True, cwd=folder, env=found, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{command} ended with {ran.returncode}: {ran.stdout}")
    return "\n".join(line.rstrip() for line in ran.stdout.splitlines()).strip("\n")


def helps() -> str:
    """Every command's help under a heading."""
    import typer

    from nntune.cli import app

    names = list(typer.main.get_command(app).commands)
    with ThreadPoolExecutor(4) as pool:
        texts = pool.map(lambda name: shell(f"nntune {name} --help", ROOT), names)
        parts = [f"## nntune {n}\n\n```text\n{t}\n```" for n, t in zip(names, texts, strict=True)]
    return "\n\n".join(parts)


def commands() -> str:
    """The first line of every command's help as a table."""
    import typer

    from nntune.cli import app

    found = typer.main.get_command(app).commands
    rows = ["| command | does |", "|---|---|"]
    for name, command in found.items():
        rows.append(f"| `nntune {name}` | {(command.help or '').splitlines()[0].rstrip('.')} |")
    return "\n".join(rows)


def ranges() -> str:
    """The default ranges as a table."""
    from nntune.space import RULES

    rows = ["| hyperparameter | range | trial 0 | what is possible at all |", "|---|---|---|---|"]
    for name, rule in RULES.items():
        limits = rule.limits or f"words: {', '.join(rule.options)}"
        default = f"{rule.default:g}" if isinstance(rule.default, float) else rule.default
        rows.append(f"| `--{name.replace('_', '-')}` | `{rule.text}` | {default} | {limits} |")
    return "\n".join(rows)


def metrics() -> str:
    """The metrics as a table."""
    from nntune.metrics import METRICS

    rows = ["| metric | for | the best is |", "|---|---|---|"]
    for name, metric in METRICS.items():
        best = "lowest" if metric.direction == "minimize" else "highest"
        rows.append(f"| `{name}` | {', '.join(metric.tasks)} | {best} |")
    return "\n".join(rows)


def example(folder: Path) -> str:
    """The worked example, run in a folder: each command with its output."""
    (folder / "studies").mkdir()
    shutil.copy(ROOT / "studies/penguins.csv", folder / "studies")
    parts = [f"```console\n$ {command}\n{shell(command, folder)}\n```" for command in EXAMPLE]
    return "\n\n".join(parts)


def fresh_example() -> str:
    """The worked example, run in a folder of its own."""
    with TemporaryDirectory() as folder:
        return example(Path(folder))
