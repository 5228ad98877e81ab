"""Text to sparse features: words and parts of words by TF-IDF, learnt from training rows.

scikit-learn's TfidfVectorizer counts and weighs; what it learns is kept as plain values (a list of
terms and their weights), so that a model file can carry it. Accents stay as they are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.request import Request
from nntune.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WORD = r"(?u)\b\w+\b"
# Longest run of words, and of characters, that can be a term.
LONGEST = {"words": 5, "characters": 10}
MOST_TERMS = 1_000_000
CASES = ("lower", "kept")


@dataclass(frozen=True)
class Span:
    """Lengths of the runs of words, or of characters within a word, that count as terms.

    Args:
        kind: 'words' or 'characters'.
        low: the shortest.
        high: the longest.
        case: 'lower', or 'kept' where capitals make another term.
    """

    kind: str
    low: int
    high: int
    case: str = "lower"


@dataclass(frozen=True)
class Vocabulary:
    """Terms of one kind in one column; each is a sparse feature.

    Args:
        terms: in code point order.
        idf: weight of each, higher the fewer training texts have it.
    """

    span: Span
    terms: tuple[str, ...]
    idf: tuple[float, ...]

    def encode(self, texts: Sequence[str]) -> "csr_array":  # (N, terms) float32
        """Weights of the terms in each text; the squares of a row add up to 1, or to 0."""
        from scipy.sparse import csr_array

        if not self.terms:
            return csr_array((len(texts), 0), dtype=np.float32)
        vectorizer = _vectorizer(self.span, self.terms)
        vectorizer.idf_ = np.array(self.idf, np.float32)
        found = csr_array(vectorizer.transform(texts))
        found.sort_indices()
        return found


def spans(request: Request) -> tuple[Span, ...]:
    """What counts as a term.

    Raises:
        UsageError: a range has no meaning.
    """
    if request.case not in CASES:
        raise UsageError(
            f"--case {request.case}: there are {' and '.join(CASES)}."
            f"{did_you_mean(request.case, CASES)}"
        )
    both = [
        _span("words", "--ngrams", request.ngrams, request.case),
        _span("characters", "--characters", request.characters, request.case),
    ]
    if not 1 <= request.vocabulary <= MOST_TERMS:
        raise UsageError(
            f"--vocabulary {request.vocabulary}: from 1 to {MOST_TERMS:,} terms of each kind."
        )
    return tuple(span for span in both if span)


def _span(kind: str, flag: str, text: str, case: str) -> Span | None:
    """A range such as 1:2, 2 for 2:2, or 0 for none."""
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if (low, high) == (0, 0):
        return None
    if not 1 <= low <= high <= LONGEST[kind]:
        raise UsageError(
            f"{flag} {text}: write LO:HI with lengths from 1 to {LONGEST[kind]}, or 0 for none; "
            "for example 1:2."
        )
    return Span(kind, low, high, case)


def learn(texts: Sequence[str], span: Span, most: int) -> Vocabulary:
    """The terms of a column: those that most training texts have, at most so many.

    Parts of words have to occur in two texts; of those that as many texts have the first in code
    point order stay.
    """
    vectorizer = _vectorizer(span, None)
    try:
        vectorizer.fit(texts)
    except ValueError:  # there is no such term in any text
        return Vocabulary(span, (), ())
    idf: NDArray[Any] = vectorizer.idf_
    often = np.sort(np.argsort(idf, kind="stable")[:most])
    terms = vectorizer.get_feature_names_out()[often]
    return Vocabulary(span, tuple(map(str, terms)), tuple(map(float, idf[often])))


def options_of(span: Span) -> dict[str, Any]:
    """How TfidfVectorizer finds the terms."""
    found: dict[str, Any] = {"ngram_range": (span.low, span.high)}
    if span.case == "kept":
        found["lowercase"] = False
    if span.kind == "words":
        return {"token_pattern": WORD, **found}
    return {"analyzer": "char_wb", "token_pattern": None, "min_df": 2, **found}


def _vectorizer(span: Span, terms: tuple[str, ...] | None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        **options_of(span), sublinear_tf=True, vocabulary=terms, dtype=np.float32
    )
