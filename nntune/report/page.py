"""A study as one page: nothing beside it, no address outside of it, all of the data escaped."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nntune.report import svg
from nntune.report.figure import Chart, Figure
from nntune.report.sections import Section, Tabled, headline, sections, tabled
from nntune.study import View
from nntune.verdict.findings import findings

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


class _Panel(NamedTuple):
    title: str
    svg: "Markup"


class _Drawn(NamedTuple):
    """A figure as the template wants it."""

    name: str
    title: str
    caption: str
    panels: list[_Panel]
    legend: Sequence[tuple[str, str, str]]  # kind, tone, label
    table: Tabled


def page(view: View) -> str:
    """The whole page.

    Raises:
        NotFoundError: no trial has a value yet.
    """
    data = view.definition.data
    found = sections(view)
    return _rendered(
        title=f"{view.name}: {data['target']}",
        subtitle=f"{data['task']} from {data['source']}, tuned with nntune",
        headline=headline(view),
        findings=findings(view),
        sections=found,
    )


def of_figure(view: View, figure: Figure) -> str:
    """A page of one figure."""
    section = Section(view.name, figures=(figure,))
    return _rendered(
        title=f"{figure.title}: {view.name}",
        subtitle=f"{view.definition.data['target']} from {view.definition.data['source']}",
        headline=None, findings=[], sections=[section],
    )  # fmt: skip


def _rendered(sections: Sequence[Section], **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style, script = (
        (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    return environment.get_template("report.html").render(
        **values,
        sections=[
            section._asdict() | {"figures": [_drawn(each) for each in section.figures]}
            for section in sections
        ],
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
    )


def _drawn(figure: Figure) -> _Drawn:
    from markupsafe import Markup

    panels = [_Panel(p.title, Markup(svg.drawn(p, figure.caption))) for p in figure.panels]
    first = figure.panels[0]
    series = first.series if isinstance(first, Chart) else ()
    legend = [
        (each.kind, each.tone, each.label) for each in series if each.label and len(series) > 1
    ]
    rows = tabled(figure.title, figure.headings, figure.rows)
    return _Drawn(figure.name, figure.title, figure.caption, panels, legend, rows)


def _hash(text: str) -> str:
    """What a content security policy calls a style or script by."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
