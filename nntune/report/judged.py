"""Pictures of a test: what was confused with what, how sure and how right the network was."""

from collections.abc import Sequence
from typing import Any

from nntune.report.figure import Axis, Chart, Figure, Grid, Series, of_numbers
from nntune.report.wording import number

_MOST_CLASSES = 20
_SHARES = tuple((share / 5, f"{share / 5:g}") for share in range(6))
_UNIT = (-0.02, 1.02)


def judged(test: dict[str, Any]) -> list[Figure]:
    """The figures that a test's content allows; see docs/verdict.md for its fields."""
    found = []
    if test.get("confusion"):
        found.append(_confusion(**test["confusion"]))
    if test.get("residuals"):
        found.append(_residuals(**test["residuals"]))
    if test.get("roc"):
        found.append(_roc(test["roc"]))
    if test.get("pr"):
        found.append(_precision(test["pr"]))
    if test.get("calibration"):
        found.append(_calibration(test["calibration"]["bins"], test["calibration"]["ece"]))
    return found


def _confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Rows are true classes; of many classes those with the most rows are drawn."""
    order = sorted(range(len(classes)), key=lambda k: -sum(counts[k]))[:_MOST_CLASSES]
    kept = sorted(order)
    names = tuple(str(classes[k]) for k in kept)
    lines = [[counts[k][j] for j in kept] for k in kept]
    right = sum(counts[k][k] for k in range(len(classes)))
    rows = sum(map(sum, counts))
    few = f" Of {len(classes)} classes the {len(kept)} largest are drawn."
    said = few * (len(kept) < len(classes))
    return Figure(
        "confusion", "Confusion matrix",
        f"Test rows by their class and the class that was predicted: {right:,} of {rows:,} lie on "
        f"the diagonal and are right. The shade is the share of the class.{said}",
        (Grid("", "predicted", "true", names, names,
              tuple(tuple(n / max(1, sum(line)) for n in line) for line in lines),
              tuple(tuple(str(n) for n in line) for line in lines)),),
        ("true class", *names),
        tuple((name, *line) for name, line in zip(names, lines, strict=True)),
    )  # fmt: skip


def _residuals(predicted: Sequence[float], residual: Sequence[float]) -> Figure:
    x, y = of_numbers("predicted", predicted), of_numbers("residual", [*residual, 0.0])
    notes = tuple(
        f"predicted {number(a)}, residual {number(b)}"
        for a, b in zip(predicted, residual, strict=True)
    )
    points = Series("points", "test rows", "complete", tuple(predicted), tuple(residual), notes)
    zero = Series("line", "no error", "best", (x.axis.low, x.axis.high), (0.0, 0.0))
    worst = sorted(zip(predicted, residual, strict=True), key=lambda pair: -abs(pair[1]))[:20]
    return Figure(
        "residuals", "Residuals",
        f"Residuals of {len(predicted):,} test rows over their predictions; a slope, a curve or a "
        "funnel is something the network has not learnt.",
        (Chart("", x.axis, y.axis, (points, zero)),),
        ("predicted", "residual, the largest first"),
        tuple((number(a), number(b)) for a, b in worst),
    )  # fmt: skip


def _roc(points: Sequence[Sequence[float]]) -> Figure:
    return _of_shares(
        "roc", "ROC curve",
        "How many positives are found for how many false alarms, over all thresholds; the diagonal "
        "is guessing.",
        ("false positive rate", "true positive rate"), points, ((0.0, 1.0), (0.0, 1.0)),
    )  # fmt: skip


def _precision(points: Sequence[Sequence[float]]) -> Figure:
    return _of_shares(
        "pr", "Precision and recall",
        "How many of the alarms are right for how many positives found, over all thresholds.",
        ("recall", "precision"), points, None,
    )  # fmt: skip


def _calibration(bins: Sequence[dict[str, Any]], ece: float) -> Figure:
    filled = [each for each in bins if each["count"]]
    points = [(each["confidence"], each["accuracy"]) for each in filled]
    figure = _of_shares(
        "calibration", "Calibration",
        "How often the network is right for how sure it is; on the diagonal it is as right as it "
        f"is sure. Expected calibration error {number(ece)}.",
        ("confidence", "accuracy"), points, ((0.0, 1.0), (0.0, 1.0)), dots=True,
    )  # fmt: skip
    rows = tuple((number(b["confidence"]), number(b["accuracy"]), b["count"]) for b in filled)
    return figure._replace(headings=("confidence", "accuracy", "rows"), rows=rows)


def _of_shares(
    name: str, title: str, caption: str, labels: tuple[str, str],
    points: Sequence[Sequence[float]], guess: tuple[tuple[float, ...], tuple[float, ...]] | None,
    *, dots: bool = False,
) -> Figure:  # fmt: skip
    """A line between shares, over a unit square."""
    x, y = zip(*points, strict=True)
    notes = tuple(f"{labels[0]} {a:.3f}, {labels[1]} {b:.3f}" for a, b in points)
    series = []
    if guess is not None:
        series.append(Series("line", "as right as sure" if dots else "guessing", "faint", *guess))
    series.append(Series("line", "network", "best", x, y, notes))
    if dots:
        series.append(Series("points", "", "end", x, y, notes))
    across, up = (Axis(label, *_UNIT, _SHARES) for label in labels)
    step = max(1, len(points) // 20)
    rows = tuple((f"{a:.3f}", f"{b:.3f}") for a, b in points[::step])
    return Figure(name, title, caption, (Chart("", across, up, tuple(series)),), labels, rows)
