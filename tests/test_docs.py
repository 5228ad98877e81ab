"""The pages are held to the code: commands, options, ranges, names, and the worked example."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from nntune import __version__
from nntune.cli import app
from nntune.errors import Error
from nntune.search import Plan
from nntune.space import RULES, parse
from nntune.space import TEXT as TEXT_SPACE

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import readme  # noqa: E402

README = (ROOT / "README.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CLUSTER = (ROOT / "docs" / "cluster.md").read_text()
SEARCH = (ROOT / "docs" / "search.md").read_text()
TEXT = (ROOT / "docs" / "text.md").read_text()
REFERENCE = (ROOT / "docs" / "commands.md").read_text()
STUDIES = (ROOT / "studies" / "README.md").read_text()
PAGES = {
    "README.md": README, "design.md": DESIGN, "cluster.md": CLUSTER, "search.md": SEARCH,
    "text.md": TEXT, "commands.md": REFERENCE,
    "CHANGELOG.md": CHANGELOG, "studies": STUDIES,
}  # fmt: skip
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "nntune").rglob("*.py")))
COMMANDS = typer.main.get_command(app).commands
HOSTS = (
    "arxiv.org",
    "distributed.dask.org",
    "doi.org",
    "keepachangelog.com",
    "semver.org",
    "127.0.0.1:8080",
)
PLACE = re.compile(r"(?<![\w.:/~])/(home|mnt|opt|root|tmp|usr|work|Users)\b")
PROCESS = re.compile(r"\b(agents?|assistant|chatbot|language model|todo|fixme)\b", re.IGNORECASE)


def section(heading: str, page: str = README) -> str:
    """Text under a heading, up to the next one of that level or above."""
    level = heading.split()[0]
    body = page.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", body, maxsplit=1)[0]


def consoles(text: str) -> list[str]:
    """Commands of the console blocks, in order."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def form(output: str) -> list[str]:
    """The words of an output, without those that depend on luck."""
    lucky = re.compile(  # findings, who wins, and the default's value, which may be the best
        r"\w+: .*--|The network (beats|loses)|As good as the network, | {10}|trial #\d+ won"
    )
    lines = [line for line in output.splitlines() if not lucky.match(line)]
    text = re.sub(r"\b(complete|pruned|failed)\b", "STATE", "\n".join(lines))
    text = re.sub(r"(, )?\d+ STATE", "", text)
    text = re.sub(r"(early stop|epochs|rung \d+)$", "WHY", text, flags=re.MULTILINE)
    return re.findall(r"[A-Za-z_]{2,}", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_each_of_its_options(name: str) -> None:
    text = section(f"## nntune {name}", REFERENCE)

    options = [opt for param in COMMANDS[name].params for opt in param.opts if opt.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", text)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_line_of_a_help_is_short_and_a_sentence(name: str) -> None:
    first = (COMMANDS[name].help or "").splitlines()[0]

    assert len(first) <= 60, first
    assert first.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_says_more_of_a_command_than_its_help(name: str) -> None:
    assert re.search(rf"nntune (`?)+{name}\b|`{name}`", README.replace(section("## Commands"), ""))


def test_the_ranges_in_the_grammar_table_are_ranges() -> None:
    examples = re.findall(r"`--([a-z0-9-]+) (\S+)` \|", section("## The search space"))

    assert len(examples) == 6
    for flag, text in examples:
        assert parse(flag.replace("-", "_"), text).text == text


def test_every_hyperparameter_has_a_default_range_in_the_readme() -> None:
    rows = re.findall(r"\| `--([a-z0-9-]+)` \| `(\S+)`", section("## The search space"))

    assert dict(rows) == {name.replace("_", "-"): rule.text for name, rule in RULES.items()}


def test_the_ranges_for_text_are_those_of_its_page() -> None:
    rows = re.findall(r"\| `--([a-z0-9-]+)` \| `(\S+)` \| (\S+) \|", TEXT)

    told = {name.replace("-", "_"): (text, float(start)) for name, text, start in rows}
    assert told == TEXT_SPACE


def test_the_exit_codes_are_those_of_the_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section("## Exit codes"), re.M)}

    assert codes == {0, 1, Error.exit_code} | {kind.exit_code for kind in Error.__subclasses__()}


def test_the_schemas_of_json_are_those_of_the_code() -> None:
    pattern = re.compile(r"nntune\.\w+/\d+")

    assert set(pattern.findall(section("## Exit codes"))) == set(pattern.findall(SOURCE))


def test_every_name_in_the_glossary_is_one_in_the_code() -> None:
    words = re.findall(r"`(\w+)`", section("## Glossary"))

    assert [word for word in words if not re.search(rf"\b{word}\b", SOURCE)] == []


def test_every_room_is_in_the_table_of_rooms() -> None:
    rooms = set(re.findall(r"`(\w+)`", section("## How it is made").split("|---|")[1]))

    modules = {path.stem for path in (ROOT / "nntune").iterdir() if path.suffix in (".py", "")}
    assert modules - rooms == {"__init__", "__main__", "__pycache__", "errors"} & modules


def test_the_figures_of_halving_are_those_of_the_code() -> None:
    assert f"bracket of {Plan().width} trials" in DESIGN
    assert Plan().eta == 3
    assert "best third of all trials ever seen" in " ".join(README.split())


def test_the_changelog_has_this_version() -> None:
    assert f"\n## [{__version__}]" in CHANGELOG


def test_the_pins_are_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text()

    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.split(r"[<>=]", each)[0] for each in wanted]
    assert [name for name in names if not re.search(rf"^{name}==[\d.]+$", pins, re.M)] == []


def headings(page: Path) -> set[str]:
    """As a link names them."""
    return {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }


@pytest.mark.parametrize(
    "page",
    ["README.md", "CHANGELOG.md", "studies/README.md",
     *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))],
)  # fmt: skip
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not heading or heading in headings(there), target


@pytest.mark.parametrize("name", [*PAGES, "constraints.txt", "Makefile", "pyproject.toml"])
def test_pages_name_no_place_or_host_of_their_making(name: str) -> None:
    text = PAGES.get(name) or (ROOT / name).read_text()

    hosts = re.findall(r"https?://([^/\s)>]+)", text)
    assert [host for host in hosts if host not in HOSTS] == []
    assert PLACE.findall(text) + PROCESS.findall(text) == []


def test_the_commands_of_the_readme_run_and_the_example_prints_what_it_shows(
    tmp_path: Path,
) -> None:
    shown = section("## An example").split("[[[end]]]")[0].split("]]] -->")[1]

    printed = readme.example(tmp_path)

    assert form(printed) == form(shown)
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "tests" / "data")
    others = [each for each in consoles(README) if each not in readme.EXAMPLE]
    assert len(others) > 5
    for command in others:
        readme.shell(command, tmp_path)


def test_optuna_dashboard_serves_a_study(tmp_path: Path) -> None:
    script = """
import json, sys
from optuna_dashboard import wsgi
from optuna.storages import RDBStorage
request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "wsgi.errors": sys.stderr}
app = wsgi(RDBStorage("sqlite:///iris.db"))
study = json.loads(b"".join(app({**request, "wsgi.input": sys.stdin.buffer}, lambda *_: None)))
print(study["name"], len(study["trials"]), {trial["state"] for trial in study["trials"]})
"""
    readme.shell("nntune search sklearn:iris --trials 1 --db iris.db --epochs 2 -q", tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stdout == "iris 1 {'Complete'}\n", done.stderr
