"""The command that looks after study files: check, repair, upgrade."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nntune.errors import DatabaseError, UsageError, did_you_mean
from nntune.options import Json, writing
from nntune.wording import harmless

if TYPE_CHECKING:
    from nntune.study.repair import Mended

ACTIONS = ("check", "repair", "upgrade")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(db)


def db(
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", show_default=False, help="check, repair or upgrade."),
    ],
    name: Annotated[
        str, typer.Argument(metavar="FILE", show_default=False, help="A study's database.")
    ],
    as_json: Json = False,
) -> None:
    """Check, repair or upgrade the file of a study.

    What is changed is copied to FILE.backup-N first. A file with problems ends check with 5.
    """
    from nntune.study import Server, database
    from nntune.study.checking import check
    from nntune.study.repair import repair, upgrade

    file = database(name)
    if isinstance(file, Server):
        raise UsageError(f"nntune db is for files; {file} has its server's own tools.")
    match action:
        case "check":
            problems = [problem.sentence for problem in check(file)]
            _print(file, action, problems, None, as_json)
            if problems:
                sys.exit(DatabaseError.exit_code)
        case "repair":
            _report(file, action, repair(file), as_json)
        case "upgrade":
            _report(file, action, upgrade(file), as_json)
        case _:
            hint = did_you_mean(action, ACTIONS)
            raise UsageError(f"nntune db {action}: there are {', '.join(ACTIONS)}.{hint}")


def _report(file: Path, action: str, mended: "Mended", as_json: bool) -> None:
    _print(file, action, list(mended.left), mended, as_json)
    if mended.left:
        sys.exit(DatabaseError.exit_code)


def _print(
    file: Path, action: str, problems: list[str], mended: "Mended | None", as_json: bool
) -> None:
    done = list(mended.done) if mended else []
    backup = str(mended.backup) if mended and mended.backup else None
    with writing():
        if as_json:
            found = {"schema": "nntune.db/1", "file": str(file), "action": action}
            rest = {"problems": problems, "done": done, "backup": backup}
            print(json.dumps(found | rest, indent=2))
            return
        print(harmless("\n".join(_lines(file, action, problems, done, backup))))


def _lines(
    file: Path, action: str, problems: list[str], done: list[str], backup: str | None
) -> list[str]:
    lines = [f"{file}: {line}; done" for line in done]
    lines += [f"{file}: {line}" for line in problems]
    if backup:
        lines.append(f"{file} as it was is in {backup}")
    elif not problems:
        lines.append(f"{file} is up to date" if action == "upgrade" else f"{file} is sound")
    elif action == "check":
        lines.append(f"nntune db repair {file} mends what can be mended, behind a backup")
    return lines
