"""One PyTorch file that trains the winner from the data file, without nntune.

It is put together from pieces: only what the table at hand needs goes in. Rows are dealt out and
encoded as nntune does it, so that the score can be compared. Whatever comes from a bundle enters
the text as a literal: a name in a bundle from a stranger cannot become code.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nntune.bundle import Bundle
from nntune.data.encoding import Encoder, Feature
from nntune.data.request import Request
from nntune.data.splits import shares
from nntune.data.texts import options_of
from nntune.errors import DataError, UsageError
from nntune.export import pieces
from nntune.export.sources import Source, literal, source_of
from nntune.families import MODULES
from nntune.metrics import METRICS
from nntune.space import parse
from nntune.trials import Shape, terms_of


def pytorch_script(bundle: Bundle, source: str, name: str) -> str:
    """The script's text.

    Args:
        bundle: of the winner; of several that are averaged the first.
        source: the data file, which has to be there to see how it is written.
        name: of the script's own file.

    Raises:
        DataError: the data cannot be read, or are not in a file.
        UsageError: a hyperparameter of the bundle has no meaning, or the study dealt out or read
            its rows as no script does.
    """
    if not isinstance(bundle.shape, Shape):
        raise UsageError(
            "--format script writes perceptrons; --format torch has the weights of the others."
        )
    found = source_of(source, bundle.target)
    _refuse_unlike(bundle, found)
    columns = _Columns.of(bundle)
    parts = [
        _head(bundle, found, name),
        _imports(bundle, found, columns),
        _constants(bundle, source, columns),
        _reading(bundle, found, columns),
        *_encoding(columns),
        _target(bundle, found),
        *_rows(bundle, found),
        *_training(bundle),
    ]
    return _spaced([part.strip("\n") for part in parts])


def _refuse_unlike(bundle: Bundle, found: Source) -> None:
    """Studies whose rows or features the script's few lines would not give."""
    asked = bundle.data | ({"series": True} if found.grid else {})
    for name, meaning in pieces.UNLIKE.items():
        if asked.get(name):
            raise UsageError(
                f"a script {meaning.format(asked[name])}; --format onnx, torch or toml keep to the "
                "study."
            )


def _spaced(parts: Sequence[str]) -> str:
    """Two empty lines around functions, one elsewhere."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += "\n\n\n" if "def " in (before[:4], part[:4]) else "\n\n"
        text += part
    return text + "\n"


@dataclass(frozen=True)
class _Columns:
    """Columns of the table by how the script reads them: numbers, codes, words, ..."""

    features: tuple[Feature, ...]
    kinds: dict[str, str]
    styles: dict[str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> "_Columns":
        encoder = Encoder.from_dict(bundle.encoder)
        return cls(
            (encoder if bundle.shape.inputs == encoder.width else encoder.plain).features,
            bundle.exported_kinds,
            {column["name"]: column.get("style", "point") for column in bundle.columns},
        )

    def named(self, role: str, *kinds: str) -> list[str]:
        """Columns of a role, as they were read: of any kind if none is given."""
        return [
            feature.column
            for feature in self.features
            if feature.role == role and (not kinds or self.kinds[feature.column] in kinds)
        ]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """What counts as a term of a text, as options of TfidfVectorizer."""
        found = {
            vocabulary.span: options_of(vocabulary.span)
            for feature in self.features
            for vocabulary in feature.vocabularies
            if vocabulary.terms
        }
        return list(found.values())

    @property
    def bins(self) -> bool:
        return any(feature.bins for feature in self.features)


def _styled(bundle: Bundle, columns: _Columns, style: str) -> list[str]:
    """Columns of numbers that are written in a style."""
    written = columns.named("numeric", "string") + [bundle.target] * (not bundle.classes)
    return [column for column in written if columns.styles.get(column) == style]


def _head(bundle: Bundle, found: Source, name: str) -> str:
    facts, trial = bundle.metrics, bundle.trials[0]
    folds = int(bundle.data.get("cv") or 1)
    several = f" (the first of {len(bundle.trials)} that are averaged)" * (len(bundle.trials) > 1)
    return pieces.HEAD.format(
        target=_plain(bundle.target),
        trial=trial,
        several=several,
        study=_plain(str(facts.get("study", ""))),
        metric=_metric(bundle),
        value=f"{float(facts['value']):.6g}",
        judged=pieces.JUDGED_FOLDS.format(folds) if folds > 1 else pieces.JUDGED,
        needs=found.needs,
        name=_plain(name),
        version=_plain(bundle.versions.get("nntune", "")),
        note=pieces.NOTE_TERMS * bool(terms_of(bundle.shape)),
    )


def _imports(bundle: Bundle, found: Source, columns: _Columns) -> str:
    imports = pieces.IMPORTS.replace("from sklearn import metrics", found.imports)
    if columns.spans:
        imports = imports.replace("from sklearn", "from scipy import sparse\nfrom sklearn", 1)
        imports = imports.replace("from torch", f"{pieces.IMPORT_TFIDF}\nfrom torch", 1)
    if "duckdb" in found.needs:
        imports = imports.replace("import numpy", "import duckdb\nimport numpy")
    if columns.named("text") or _styled(bundle, columns, "comma"):
        imports = imports.replace("import sys", "import re\nimport sys")
    return imports


def _plain(text: str) -> str:
    """A name in a docstring, which it cannot end."""
    return re.sub(r"[^\w .,:()%+-]", "?", text)[:80]


def _metric(bundle: Bundle) -> str:
    name = bundle.metrics.get("metric")
    if name not in METRICS:
        raise DataError(f"the bundle names no metric that nntune knows, but {name!r}")
    return str(name)


def _constants(bundle: Bundle, source: str, columns: _Columns) -> str:
    params = {name: parse(name, str(value)).nearest(value) for name, value in bundle.params.items()}
    lists = {
        "CLASSES": _classes(bundle),
        "NUMBERS": columns.named("numeric"),
        "FLAGS": columns.named("boolean", "number"),
        "YES_OR_NO": columns.named("boolean", "string"),
        "CODES": columns.named("categorical", "number", "date"),
        "WORDS": columns.named("categorical", "string"),
        "TEXTS": columns.named("text"),
        "PATTERNS": pieces.PATTERNS if columns.named("text") else [],
        "TERMS": columns.spans,
        "DATES": {f.column: _pattern(f.style) for f in columns.features if f.role == "date"},
    }
    valid = bundle.data.get("valid")
    lines = [
        f"DATA = sys.argv[1] if len(sys.argv) > 1 else {literal(source)}",
        f"VALID = {literal(str(valid))}" if valid else "",
        f"TARGET = {literal(bundle.target)}",
        *(_assigned(name, values) for name, values in lists.items() if values),
        f"SEED, EPOCHS, PATIENCE = {bundle.seed}, {params['epochs']}, {_patience(bundle)}",
        f"BATCH_SIZE, LR, L1, L2 = {params['batch_size']}, {params['lr']!r}, {params['l1']!r}, "
        f"{params['l2']!r}",
    ]
    if columns.spans:
        lines.insert(-2, f"VOCABULARY = {int(bundle.data.get('vocabulary', Request.vocabulary))}")
    if columns.bins:
        lines.insert(-2, f"BINS = {params['bins']}")
    return "\n".join(filter(None, lines)) + "\n\n"


def _patience(bundle: Bundle) -> int:
    return int(bundle.metrics.get("patience", max(int(bundle.params["epochs"]) // 8, 20)))


def _classes(bundle: Bundle) -> list[Any]:
    from nntune.bundle import Predictor

    is_text = bundle.exported_kinds[bundle.target] == "string"
    return list(bundle.classes if is_text else Predictor(bundle).classes_.tolist())


def _pattern(style: str) -> str:
    return "ISO8601" if style == "iso" else style


def _assigned(name: str, values: Any) -> str:
    """An assignment of a list or a dict, in lines of at most 100 characters if items are short."""
    if isinstance(values, dict):
        items = [f"{literal(key)}: {literal(value)}" for key, value in values.items()]
    else:
        items = [literal(value) for value in values]
    begin, end = "{}" if isinstance(values, dict) else "[]"
    line = f"{name} = {begin}{', '.join(items)}{end}"
    if len(line) <= 100:
        return line
    rows = [""]
    for item in items:
        if rows[-1] and len(rows[-1]) + len(item) > 93:
            rows.append("")
        rows[-1] = f"{rows[-1]} {item},".strip()
    return "\n".join([f"{name} = {begin}", *(f"    {row}" for row in rows), end])


def _reading(bundle: Bundle, found: Source, columns: _Columns) -> str:
    lines = [*found.lines]
    for style, step in pieces.STYLES.items():
        if styled := _styled(bundle, columns, style):
            lines += [
                f"for name in {styled!r}:",
                f"    table[name] = table[name].astype(str).{step}",
            ]
    body = textwrap.indent("\n".join([*lines, "return table"]), "    ")
    point = pieces.POINT.lstrip("\n") if _styled(bundle, columns, "comma") else ""
    return f'{point}def read(path):\n    """{found.meaning}"""\n{body}\n\n'


def _encoding(columns: _Columns) -> list[str]:
    """The functions that the columns call for, and the one that calls them."""
    used, calls = [pieces.NUMBER, pieces.TEXT], []
    for wanted, functions, call in (
        (columns.named("numeric"), (pieces.NUMERIC,), pieces.CALL_NUMERIC),
        (columns.named("boolean", "number"), (pieces.FLAG, pieces.YES_OR_NO), pieces.CALL_FLAG),
        (columns.named("boolean", "string"), (pieces.FLAG, pieces.YES_OR_NO), pieces.CALL_YES),
        (columns.named("categorical", "number", "date"), (pieces.CATEGORICAL,), pieces.CALL_CODES),
        (columns.named("categorical", "string"), (pieces.CATEGORICAL,), pieces.CALL_WORDS),
        (columns.named("date"), (pieces.PARTS, pieces.DATE), pieces.CALL_DATE),
        (columns.named("text"), (pieces.PARTS, pieces.PROSE), pieces.CALL_PROSE),
        (columns.spans, (pieces.TFIDF,), pieces.CALL_TFIDF),
        (columns.bins, (pieces.PLACES,), pieces.CALL_PLACES),
    ):
        if wanted:
            used += [function for function in functions if function not in used]
            calls.append(textwrap.indent(call.strip("\n"), "    "))
    body = "\n".join(calls)
    encode = pieces.ENCODE_TERMS if columns.spans else pieces.ENCODE
    return [*used, encode.format(calls=body)]


def _target(bundle: Bundle, found: Source) -> str:
    if not bundle.classes:
        return pieces.TARGET_NUMBER
    if not isinstance(_classes(bundle)[0], str):
        return pieces.TARGET_CODE
    is_truth = found.typed and {label.lower() for label in bundle.classes} <= {"true", "false"}
    return pieces.TARGET_WORD.replace("LOWER", ".str.lower()" * is_truth)


def _rows(bundle: Bundle, found: Source) -> list[str]:
    own_valid = bool(bundle.data.get("valid"))
    own_test = bool(bundle.data.get("test")) or found.own_test
    valid, test = shares(own_valid, own_test)
    sizes = [f"max(1, round({share} * len(rows)))" if share else "0" for share in (valid, test)]
    dealt = pieces.DEALT.format(
        which="y == place" if bundle.classes else "~np.isnan(y)",
        groups="len(CLASSES)" if bundle.classes else "1",
        valid=sizes[0], test=sizes[1],
    )  # fmt: skip
    return [dealt, pieces.SPLIT_FILES if own_valid else pieces.SPLIT]


def _training(bundle: Bundle) -> list[str]:
    params, metric = bundle.params, _metric(bundle)
    (optimizer,) = parse("optimizer", str(params["optimizer"])).choices
    dropout = float(params["dropout"])
    has_penalty = float(params["l1"]) > 0 or float(params["l2"]) > 0
    model = pieces.MODEL.format(
        network=_network(bundle, f"nn.Dropout({dropout!r})" if dropout else ""),
        optimizer=pieces.OPTIMIZERS[str(optimizer)],
        loss="CrossEntropyLoss" if bundle.classes else "MSELoss",
    )
    is_sparse = bool(terms_of(bundle.shape))
    score = pieces.SCORE.format(
        rows="whole(x_valid)" if is_sparse else "x_valid",
        predicted=pieces.PREDICTED_CLASSES if bundle.classes else pieces.PREDICTED_NUMBERS,
        score=pieces.SCORES[metric],
    )
    sign = "-" if METRICS[metric].direction == "maximize" else ""
    training = pieces.TRAINING.format(
        weights=pieces.WEIGHTS * has_penalty, penalty=pieces.PENALTY * has_penalty, sign=sign,
        metric=metric, rows="whole(x[batch.numpy()])" if is_sparse else "x[batch]",
    )  # fmt: skip
    return [
        pieces.ARRAYS_CLASSES if bundle.classes else pieces.ARRAYS_NUMBERS,
        model,
        score,
        training,
    ]


def _network(bundle: Bundle, dropout: str) -> str:
    """The layers, one a line."""
    lines = []
    shape = bundle.shape
    assert isinstance(shape, Shape)
    for place, (inputs, outputs) in enumerate(shape.layers):
        # Of its own training rows the script may make other bins or rare categories than refit.
        lines.append(f"nn.Linear({inputs if place else 'x.shape[1]'}, {outputs}),")
        if place < len(shape.hidden):
            between = [f"nn.{MODULES[shape.activation]}()", dropout]
            lines += [f"{layer}," for layer in between if layer]
    return "\n    ".join(lines)
