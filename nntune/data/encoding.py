"""Columns to features: what is learnt from training rows, and how any rows are encoded with it.

An encoder is plain data (`to_dict`), so that a model file can carry it without code.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nntune.data import bins
from nntune.data.roles import FALSE, TRUE, Role, fewest_rows, present
from nntune.data.table import Cells, Floats, Rows, Strings, Table, labels, moments, numbers
from nntune.data.texts import Span, Vocabulary, learn
from nntune.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# At most this many categories of one column get a feature each; the rest share one.
MOST_LEVELS = 64
# A standardised number beyond this says no more than "far out" and would swamp the first layer.
FAR = 10.0
HUGE = 1e150  # the square of a larger number is infinite
ROUNDING = float(np.finfo(np.float64).eps)  # of a number, at most so much is lost
TEXT_PARTS = ("characters", "words", "word length", "upper case", "digits", "punctuation")
DATE_PARTS = ("time", "year", "month", "day of week", "day of year", "hour")
DAY = 86400.0
# (N, D) float32; sparse if the encoder has terms.
Encoded: TypeAlias = "NDArray[np.float32] | csr_array"
CAPITALS = re.compile("[A-Z\u00c0-\u00de\u0391-\u03a9\u0410-\u042f]")
DIGITS = re.compile(r"\d")
MARKS = re.compile(r"[!-/:-@\[-`{-~]")


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation; see `of`."""

    mean: float
    sd: float

    def apply(self, values: Floats) -> Floats:
        with np.errstate(over="ignore"):  # infinite is far out too
            return np.clip((values - self.mean) / self.sd, -FAR, FAR)

    @staticmethod
    def of(mean: float, sd: float, low: float, high: float) -> "Scale":
        """The deviation counts as 1 where numbers differ by no more than they are rounded by.

        So a constant does not explode, and farads and microseconds since 1970 are standardised like
        anything else.

        >>> Scale.of(0.3, 3e-17, 0.3, 0.1 + 0.2).sd, Scale.of(5.0, 1e-7, 4.9999999, 5.0000001).sd
        (1.0, 1e-07)

        Args:
            mean: of the numbers.
            sd: of them.
            low: the least of them.
            high: the largest of them.
        """
        is_spread = high - low > ROUNDING * max(-low, high)
        return Scale(mean, (sd or 1.0) if is_spread else 1.0)


def scale_of(values: Floats) -> Scale:
    """Scale of the values that are there; (0, 1) if there are none."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return Scale(0.0, 1.0)
    low, high = ends_of(known)
    unit = unit_of(low, high)
    mean, sd = (unit * float(each) for each in ((known / unit).mean(), (known / unit).std()))
    return Scale.of(mean, sd, low, high)


def ends_of(values: Floats) -> tuple[float, float]:
    """The least and the largest of some values."""
    return float(values.min()), float(values.max())


def unit_of(low: float, high: float) -> float:
    """What to divide by so that squares are finite: 1, unless there is a very large number."""
    largest = max(-low, high)
    return largest if largest > HUGE else 1.0


@dataclass(frozen=True)
class Feature:
    """How one column becomes `width` features and some bins; which fields count is up to the role.

    Args:
        column: its name.
        role: numeric, boolean, categorical, date or text.
        style: how numbers are written, or the date format.
        names: of the dense features but the bins.
        scales: one for each scaled feature.
        median: stands for a missing number, in standard deviations from the mean.
        levels: categories with a feature each, in order.
        rare: whether categories outside `levels` share a feature.
        missing: whether a missing value has a feature.
        parts: which parts of a date or text are used.
        vocabularies: of a text, whose terms are sparse features.
        edges: of a number's bins, rising, in standard deviations from the mean.
    """

    column: str
    role: str
    style: str = "point"
    names: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()
    median: float = 0.0
    levels: tuple[str, ...] = ()
    rare: bool = False
    missing: bool = False
    parts: tuple[str, ...] = ()
    vocabularies: tuple[Vocabulary, ...] = ()
    edges: tuple[float, ...] = ()

    @property
    def bins(self) -> int:
        """How many bins it has."""
        return max(len(self.edges) - 1, 0)

    @property
    def bin_names(self) -> tuple[str, ...]:
        return tuple(f"{self.column} bin {place + 1}" for place in range(self.bins))

    @property
    def width(self) -> int:
        """How many dense features it has, without bins."""
        return len(self.names)

    @property
    def terms(self) -> int:
        """How many sparse features it has."""
        return sum(len(vocabulary.terms) for vocabulary in self.vocabularies)

    def terms_of(self, cells: Cells) -> "csr_array":  # (N, terms) float32
        """The sparse features of a text column; a missing text has none."""
        from scipy.sparse import csr_array, hstack

        words = labels(cells).packed()
        texts = [*words.levels, ""]
        blocks = [vocabulary.encode(texts) for vocabulary in self.vocabularies]
        return csr_array(hstack(blocks, format="csr")[words.codes])

    def fill(self, cells: Cells, out: NDArray[np.float32], more: NDArray[np.float32]) -> None:
        """Encode cells into `out`, (N, width), and `more`, (N, bins), which are zero on entry."""
        match self.role:
            case "categorical":
                self._fill_categories(labels(cells), out)
            case "boolean":
                self._fill_numbers(truths(cells), out)
            case "numeric":
                values = self._fill_numbers(finite(numbers(cells, self.style)), out)
                bins.fill(values, self.edges, more)
            case "date":
                self._fill_parts(date_parts(moments(cells, self.style)), out)
            case _:
                self._fill_parts(text_parts(labels(cells)), out)

    def _fill_numbers(self, values: Floats, out: NDArray[np.float32]) -> Floats:
        gaps = np.isnan(values)
        scaled = self.scales[0].apply(values) if self.scales else values
        filled = np.where(gaps, self.median, scaled)
        out[:, 0] = filled
        if self.missing:
            out[:, 1] = gaps
        return filled

    def _fill_parts(self, parts: dict[str, Floats], out: NDArray[np.float32]) -> None:
        for place, (part, scale) in enumerate(zip(self.parts, self.scales, strict=True)):
            values = parts[part]
            out[:, place] = np.where(np.isnan(values), 0.0, scale.apply(values))
        if self.missing:
            out[:, len(self.parts)] = np.isnan(next(iter(parts.values())))

    def _fill_categories(self, cells: Strings, out: NDArray[np.float32]) -> None:
        # Without a feature of its own, a place is the row of zeros: no weight is left untrained.
        rare = len(self.levels) if self.rare else -1
        gap = len(self.levels) + self.rare if self.missing else -1
        known = {level: i for i, level in enumerate(self.levels)}
        places = np.array([known.get(level, rare) for level in cells.levels] + [gap])[cells.codes]
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1.0


def bytes_of(x: Encoded) -> int:
    """Memory of encoded rows."""
    parts = [x] if isinstance(x, np.ndarray) else [x.data, x.indices, x.indptr]
    return sum(part.nbytes for part in parts)


def filled_of(x: Encoded) -> float:
    """How many numbers are kept of a row, on average: of sparse features those that are not 0."""
    count = x.size if isinstance(x, np.ndarray) else x.nnz
    return float(count / x.shape[0])


def finite(values: Floats) -> Floats:
    """The values with nan for infinity."""
    return np.where(np.isinf(values), np.nan, values)


def truths(cells: Cells) -> Floats:  # (N,) 1, 0 or nan
    """Yes as 1 and no as 0, in the spellings of `roles.TRUE` and `roles.FALSE`."""
    words = labels(cells)
    lower = [level.lower() for level in words.levels]
    values = [1.0 if w in TRUE else 0.0 if w in FALSE else np.nan for w in lower]
    return np.array([*values, np.nan])[words.codes]


def date_parts(seconds: Floats) -> dict[str, Floats]:
    """Year, month and so on of moments in seconds since 1970; nan stays nan.

    >>> {k: float(v[0]) for k, v in date_parts(np.array([86400.0 * 31])).items()}["month"]
    2.0
    """
    gaps = np.isnan(seconds)
    when = np.where(gaps, 0.0, seconds).astype("datetime64[s]")
    days, years = when.astype("datetime64[D]"), when.astype("datetime64[Y]")
    parts = {
        "time": seconds / DAY,
        "year": years.astype(np.float64) + 1970,
        "month": when.astype("datetime64[M]").astype(np.float64) % 12 + 1,
        "day of week": (days.astype(np.float64) + 3) % 7,
        "day of year": (days - years.astype("datetime64[D]")).astype(np.float64) + 1,
        "hour": seconds % DAY / 3600,
    }
    return {part: np.where(gaps, np.nan, values) for part, values in parts.items()}


def text_parts(cells: Strings) -> dict[str, Floats]:
    """Length, words and shares of kinds of characters; the counts as log(1 + n)."""
    cells = cells.packed()
    table = np.array([_text_row(s) for s in (*cells.levels, "")], np.float64)[cells.codes]
    return dict(zip(TEXT_PARTS, table.T, strict=True))


def _text_row(text: str) -> tuple[float, ...]:
    length, words = len(text), len(text.split())
    shares = (
        len(CAPITALS.findall(text)),
        len(DIGITS.findall(text)),
        len(MARKS.findall(text)),
    )
    mean = (length - words + 1) / words if words else 0.0
    return (np.log1p(length), np.log1p(words), mean, *(n / max(length, 1) for n in shares))


def fit(
    column: str, role: Role, cells: Cells, spans: Sequence[Span] = (), vocabulary: int = 0,
    count: int = 0,
) -> Feature:  # fmt: skip
    """Learn the encoding of a column from its training rows.

    Args:
        column: its name.
        role: what it is.
        cells: of the training rows.
        spans: what counts as a term of a text.
        vocabulary: terms of each span, at most.
        count: bins of a number, at most.
    """
    match role.name:
        case "categorical":
            return _fit_categories(column, labels(cells))
        case "boolean":
            gap = bool(np.isnan(truths(cells)).any())
            return Feature(column, "boolean", names=_names(column, gap), missing=gap)
        case "numeric":
            return _fit_numbers(column, finite(numbers(cells, role.style)), role.style, count)
        case "date":
            return _fit_parts(column, role, date_parts(moments(cells, role.style)))
        case _:
            words = labels(cells)
            texts = [words.levels[code] for code in words.codes if code >= 0]
            found = tuple(learn(texts, span, vocabulary) for span in spans)
            parts = _fit_parts(column, role, text_parts(words))
            return replace(parts, vocabularies=found)


def _names(column: str, gap: bool) -> tuple[str, ...]:
    return (column, f"{column} missing") if gap else (column,)


def _fit_numbers(column: str, values: Floats, style: str, count: int) -> Feature:
    scale, gaps = scale_of(values), np.isnan(values)
    known = scale.apply(values[~gaps])
    median = float(np.median(known)) if len(known) else 0.0
    gap, edges = bool(gaps.any()), bins.edges_of(known, count)
    names = _names(column, gap)
    return Feature(column, "numeric", style, names, (scale,), median, missing=gap, edges=edges)


def _fit_parts(column: str, role: Role, parts: dict[str, Floats]) -> Feature:
    gap = bool(np.isnan(next(iter(parts.values()))).any())
    used = tuple(p for p, v in parts.items() if np.nanmax(v) > np.nanmin(v))
    scales = tuple(scale_of(parts[p]) for p in used)
    names = (*(f"{column} {part}" for part in used), *((f"{column} missing",) if gap else ()))
    return Feature(column, role.name, role.style, names, scales, missing=gap, parts=used)


def _fit_categories(column: str, cells: Strings) -> Feature:
    levels, counts = present(cells)
    least = fewest_rows(len(cells))
    often = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= least]
    kept = tuple(levels[i] for i in sorted(often[:MOST_LEVELS]))
    rare, gap = len(kept) < len(levels), bool((cells.codes < 0).any())
    ends = ("(rare)",) * rare + ("(missing)",) * gap
    names = tuple(f"{column}={level}" for level in (*kept, *ends))
    return Feature(column, "categorical", names=names, levels=kept, rare=rare, missing=gap)


@dataclass(frozen=True)
class Encoder:
    """All columns' encodings, in order; fitted on training rows, the same for all others."""

    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the dense features, bins last."""
        plain = [name for feature in self.features for name in feature.names]
        return (*plain, *(name for feature in self.features for name in feature.bin_names))

    @property
    def bins(self) -> int:
        """How many of the dense features, the last ones, are bins of numbers."""
        return sum(feature.bins for feature in self.features)

    @property
    def plain(self) -> "Encoder":
        """The same without bins."""
        return Encoder(tuple(replace(feature, edges=()) for feature in self.features))

    @property
    def terms(self) -> int:
        """How many sparse features there are, after the dense ones."""
        return sum(feature.terms for feature in self.features)

    @property
    def width(self) -> int:
        """How many features there are in all."""
        return len(self.names) + self.terms

    def transform(self, table: Table, rows: Rows | None = None) -> "Encoded":
        """Features of the rows, (N, D): C-contiguous, or sparse where there is text.

        Raises:
            DataError: the table lacks a column.
        """
        dense = self._dense(table, rows)
        if not self.terms:
            return dense
        from scipy.sparse import csr_array, hstack

        blocks = [csr_array(dense)]
        for feature in self.features:
            if feature.terms:
                cells = table.columns[feature.column]
                blocks.append(feature.terms_of(cells if rows is None else cells.take(rows)))
        return csr_array(hstack(blocks, format="csr"))

    def check(self, table: Table) -> None:
        """Refuse a table that lacks a column.

        Raises:
            DataError: it does.
        """
        absent = [f.column for f in self.features if f.column not in table.columns]
        if absent:
            raise DataError(f"{table.name} has no column {absent[0]!r}, which the network needs")

    def _dense(self, table: Table, rows: Rows | None) -> NDArray[np.float32]:
        self.check(table)
        count = table.rows if rows is None else len(rows)
        out = np.zeros((count, len(self.names)), np.float32)
        place, place_of_bins = 0, out.shape[1] - self.bins
        for feature in self.features:
            cells = table.columns[feature.column]
            cells = cells if rows is None else cells.take(rows)
            end = place_of_bins + feature.bins
            feature.fill(cells, out[:, place : place + feature.width], out[:, place_of_bins:end])
            place, place_of_bins = place + feature.width, end
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {"features": [asdict(feature) for feature in self.features]}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Encoder":
        return Encoder(tuple(_feature(feature) for feature in values["features"]))


def _feature(values: dict[str, Any]) -> Feature:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    scales = tuple(Scale(**scale) for scale in values["scales"])
    vocabularies = tuple(_vocabulary(each) for each in values.get("vocabularies", ()))
    return Feature(**{**plain, "scales": scales, "vocabularies": vocabularies})


def _vocabulary(values: dict[str, Any]) -> Vocabulary:
    return Vocabulary(Span(**values["span"]), tuple(values["terms"]), tuple(values["idf"]))
