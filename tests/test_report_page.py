"""The report: what it says, that it is safe and alone, and how it behaves in a browser."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from made_studies import SPACE, SPLITS, add_verdict, confirmation, make, updated

from nntune.cli import main
from nntune.errors import NotFoundError, RefusedError, UsageError
from nntune.report.page import page
from nntune.report.sections import headline, sections
from nntune.report.winner import _repeat
from nntune.space import build
from nntune.study import View
from nntune.verdict.findings import findings

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Command = Callable[..., tuple[int, str, str]]
HOSTILE = "</script><script>alert(1)</script><img src=http://example.org/x onerror='alert(1)'>\"&'"


@pytest.fixture
def nntune(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def opened(view: View, opening: int) -> dict[str, Any]:
    """What a test of the winner keeps, made up."""
    task, classes = view.definition.data["task"], view.definition.data["classes"]
    metrics = {view.definition.metric: {"value": 0.25, "low": 0.2, "high": 0.3}}
    shares = [[0.0, 0.0], [0.25, 0.75], [1.0, 1.0]]
    return {
        "schema": "nntune.test/1", "opening": opening, "trial": view.trials(top=1)[0].number,
        "rows": 69, "metric": view.definition.metric,
        "entries": [
            {"name": each, "label": each, "metrics": metrics} for each in ("network", "linear")
        ],
        "confusion": {"classes": classes, "counts": [[3] * len(classes)] * len(classes)}
        if classes else None,
        "threshold": 0.4 if task == "binary" else None,
        "at_threshold": {"chosen_for": "f1", "metrics": {"f1": 0.8}, "counts": [[3, 3], [3, 3]]}
        if task == "binary" else None,
        "roc": shares if task == "binary" else None,
        "pr": shares if task == "binary" else None,
        "calibration": {"bins": [{"confidence": 0.9, "accuracy": 0.8, "count": 9},
                                 {"confidence": 0.1, "accuracy": 0.0, "count": 0}], "ece": 0.1}
        if classes else None,
        "residuals": None if classes else {"predicted": [1.0, 2.0], "residual": [0.5, -0.5]},
    }  # fmt: skip


def whole(path: Path, task: str, **data: Any) -> View:
    """A study with a confirmation and a test."""
    view = make(path, task=task, **data)
    add_verdict(view, "confirmation", confirmation(view))
    add_verdict(view, "test", opened(view, 1))
    return view


class Page(HTMLParser):
    """Tags and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def text_of(found: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


@pytest.mark.parametrize(
    ("task", "figures"),
    [
        ("binary", {"confusion", "roc", "pr", "calibration"}),
        ("multiclass", {"confusion", "calibration"}),
        ("regression", {"residuals"}),
    ],
)
def test_a_report_has_every_part_for_its_task(tmp_path: Path, task: str, figures: set[str]) -> None:
    view = whole(tmp_path / "made.db", task)
    found = page(view)

    drawn = {attrs["id"] for tag, attrs in Page(found).tags if tag == "figure"}
    assert drawn == figures | {"history", "curves", "importance", "contour", "slice", "parallel"}
    content = text_of(found)
    mean = view.verdicts("confirmation")[0]["confirmed"]["mean"]
    assert f"{mean:.4g} ± 0.0158" in content
    assert "On 69 test rows 0.25 (95%: 0.2 to 0.3)." in content
    assert "was luck" in content
    assert "logistic regression" in content
    threshold = " from a probability of 0.4 on, chosen for f1 on validation rows: f1 0.8."
    assert (threshold in content) == (task == "binary")
    for finding in findings(view):
        assert f"{finding.name} : {finding.sentence}" in content
    assert "nntune search table.csv --target y --study made-" in content
    for tag, attrs in Page(found).tags:
        if tag == "svg" and attrs.get("role") == "img":
            assert attrs["aria-label"]


def test_a_report_without_a_confirmation_says_that_its_value_flatters(tmp_path: Path) -> None:
    content = text_of(page(make(tmp_path / "made.db")))

    assert "The best of 38 noisy values: a new sample will score worse." in content
    assert "confirmed" not in content


def test_one_value_is_not_said_to_be_the_best_of_many(tmp_path: Path) -> None:
    view = make(tmp_path / "made.db", trials=2)

    assert [line.text.split()[0] for line in headline(view).lines] == ["nntune"]
    assert "trained anew:\n  nntune search" in _repeat(view, view.trial(0))


def test_a_report_says_what_folds_and_lags_made_of_the_rows(tmp_path: Path) -> None:
    data = {"split": {"folds": 5}, "request": {"lags": 3}, "counts": {**SPLITS, "dropped": 3}}

    content = text_of(page(make(tmp_path / "made.db", **data)))

    assert "folds 5, of the rows of train and valid" in content
    assert "dropped 3 rows without a target or its whole past" in content


def test_a_test_of_an_earlier_winner_is_shown_as_such(tmp_path: Path) -> None:
    view = whole(tmp_path / "made.db", "binary")
    winner = view.verdicts("confirmation")[0]["winner"]
    add_verdict(view, "test", {**opened(view, 1), "trial": winner + 1})

    content = text_of(page(view))

    assert f"(95%: 0.2 to 0.3) for trial #{winner + 1}, which was the winner then." in content
    assert f"Trial #{winner + 1} on 69 rows that neither search nor confirmation has" in content


def test_a_report_of_a_few_trials_says_why_a_picture_is_missing(tmp_path: Path) -> None:
    content = text_of(page(make(tmp_path / "few.db", trials=6)))

    assert "Study 'few' has 5 trials with a value; importance needs 15" in content


def test_a_report_keeps_what_had_a_range_and_is_fixed_since(tmp_path: Path) -> None:
    view = make(tmp_path / "made.db")
    space = {each.name: each.text for each in SPACE.hyperparameters} | {"lr": "0.5", "l2": "0"}
    configuration, second, *others = sections(updated(view, build(space), 8))

    leaderboard = second.table
    assert leaderboard is not None
    assert configuration.table is not None
    assert {"lr", "l2", "units"} <= set(leaderboard.headings)
    assert not {"batch_size", "epochs"} & set(leaderboard.headings)
    rows = {row.cells[0]: row.cells[1:] for row in configuration.table.rows}
    assert rows["lr"][1:] == ("43% of the way", "1e-4:5e-1:log; now 0.5")
    assert "lr" not in configuration.lines[0]
    assert [each.lines for each in others if each.title == "What matters"] == [()]


def test_a_second_opening_of_the_test_is_shown_as_such(tmp_path: Path) -> None:
    view = make(tmp_path / "made.db")
    add_verdict(view, "confirmation", confirmation(view))
    add_verdict(view, "test", opened(view, 2))

    assert "at opening 2: no longer unseen" in text_of(page(view))


def test_names_in_the_data_are_text_and_the_page_refers_to_nothing(tmp_path: Path) -> None:
    classes = [HOSTILE, "b", "c"]
    view = whole(
        tmp_path / "made.db", "multiclass", target=HOSTILE, source=HOSTILE, classes=classes
    )

    found = page(view)

    parsed = Page(found).tags
    assert [tag for tag, _ in parsed].count("script") == 1
    assert {tag for tag, _ in parsed} & {
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
    } == set()
    assert not [name for _, attrs in parsed for name in attrs if name.startswith("on")]
    links = [value for _, attrs in parsed for name, value in attrs.items()
             if name in ("href", "src", "srcset", "action", "style")]  # fmt: skip
    assert links == ["data:,"]
    assert HOSTILE in html.unescape(found)
    assert "url(" not in found
    assert "@import" not in found


def test_a_page_is_the_same_each_time_and_loads_no_torch(tmp_path: Path) -> None:
    view = whole(tmp_path / "made.db", "binary")
    code = (
        "import sys, pathlib, nntune.study as study, nntune.report.page as report\n"
        "view = study.read(pathlib.Path(sys.argv[1]))\n"
        "pathlib.Path(sys.argv[2]).write_text(report.page(view), encoding='utf-8')\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code, view.path, tmp_path / "again.html"], check=True)

    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page(view)


def test_report_writes_a_file_and_never_over_another(
    tmp_path: Path, nntune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "made.db")
    monkeypatch.chdir(tmp_path)

    assert nntune("report", "--db", "made.db") == (0, "made.html\n", "")
    written = Path("made.html").read_bytes()
    code, out, err = nntune("report", "--db", "made.db")

    assert (code, out) == (RefusedError.exit_code, "")
    assert err == "nntune: made.html is there already; --force writes over it, -o names another.\n"
    assert nntune("report", "--db", "made.db", "--force")[0] == 0
    assert Path("made.html").read_bytes() == written
    assert nntune("report", "--db", "made.db", "-o", "a.txt")[::2] == (
        UsageError.exit_code, "nntune: -o a.txt: name a file that ends in .html or .htm.\n",
    )  # fmt: skip
    assert nntune("report", "--db", "made.db", "-o", "no/a.html")[::2] == (
        UsageError.exit_code, "nntune: no/a.html: there is no folder no.\n",
    )  # fmt: skip
    assert nntune("plot", "history", "--db", "made.db", "-o", "history.html")[0] == 0
    assert "<svg" in Path("history.html").read_text()


def test_a_study_without_values_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        page(make(tmp_path / "empty.db", trials=1))


def test_without_optuna_dashboard_a_sentence_says_what_brings_it(
    tmp_path: Path, nntune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "made.db")
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)

    code, _, err = nntune("dashboard", "--db", tmp_path / "made.db")

    assert code == UsageError.exit_code
    assert "pip install 'nntune[dashboard]' brings it" in err


def test_the_dashboard_is_served_to_this_machine_alone(
    tmp_path: Path, nntune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    make(tmp_path / "made.db")
    served = []
    monkeypatch.setattr(
        optuna_dashboard, "run_server", lambda url, **how: served.append((url, how))
    )

    code, out, err = nntune("dashboard", "--db", tmp_path / "made.db", "--port", 8123)

    assert (code, out) == (0, "")
    assert err == "made: http://127.0.0.1:8123/dashboard (Ctrl-C ends it)\n"
    assert served == [(f"sqlite:///{tmp_path / 'made.db'}", {"host": "127.0.0.1", "port": 8123})]


# In a browser


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    """Chromium without a window; the packages chromium and chromium-driver of Debian bring it."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    root = ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
    for flag in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *root):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as found:
        yield found


@pytest.fixture(scope="module", params=["binary", "regression"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose names are hostile."""
    folder = tmp_path_factory.mktemp("report")
    text = page(whole(folder / "made.db", request.param, target=HOSTILE, source=HOSTILE))
    (folder / "report.html").write_text(text, encoding="utf-8")
    return folder / "report.html"


def show(browser: "Chrome", path: Path, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())


@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_fits_and_asks_for_nothing(browser: "Chrome", report: Path, width: int) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)

    show(browser, report, width)

    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        each["params"]["request"]["url"]
        for each in messages
        if each["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.height])"
    )
    assert len(boxes) >= 12
    assert all(0 <= left < right - 200 <= width and height > 50 for left, right, height in boxes)


def test_a_table_sorts_by_the_column_that_is_pressed(browser: "Chrome", report: Path) -> None:
    show(browser, report, 1280)

    orders = browser.execute_script(
        "const table = document.querySelectorAll('table')[1];"
        "const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === 'lr');"
        "const values = () => [...table.tBodies[0].rows].map(r => r.cells[at].textContent);"
        "const press = () => table.tHead.rows[0].cells[at].firstChild.click();"
        "press(); const up = values(); press(); return [up, values()];"
    )

    up, down = ([float(text) for text in order if text != "-"] for order in orders)
    assert len(up) == 40
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert [order[-1] for order in orders] == ["-", "-"]  # the baselines have none


def test_the_mark_under_the_pointer_says_what_it_is(browser: "Chrome", report: Path) -> None:
    show(browser, report, 1280)

    said = browser.execute_script(
        "const svg = document.querySelector('#history svg'), box = svg.getBoundingClientRect();"
        "const mark = svg.querySelector('[data-places]');"
        "const [x, y] = mark.dataset.places.split(' ')[0].split(',');"
        "const scale = box.width / svg.viewBox.baseVal.width;"
        "svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + x * scale,"
        "clientY: box.top + y * scale})); const note = document.getElementById('note');"
        "return [note.textContent, note.hidden, mark.dataset.notes.split('\\n')[0]];"
    )

    assert said[0] == said[2]
    assert said[1] is False
    assert re.match(r"#\d+: [\d.]+ \w+, (pruned|complete) \(", said[0])
