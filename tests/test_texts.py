"""Text columns: found, learnt from training rows, in any language, carried as plain values."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import issparse

from nntune.data import Request, describe, load, load_test
from nntune.data.encoding import Encoder
from nntune.data.table import Table, strings
from nntune.data.texts import Span, learn, spans
from nntune.errors import UsageError

AMAZON = Request(str(Path(__file__).parent / "data" / "vader_amazon_500.csv"), "valence")
WORDS, PARTS = Span("words", 1, 2), Span("characters", 4, 4)
GOOD = ["não é ruim, é ótimo", "leitura excelente e emoção", "ótimo livro", "coração: muito bom"]
BAD = ["livro péssimo e chato", "não gostei, é ruim", "muito chato", "decepção total, é péssimo"]


def write(path: Path, rows: list[tuple[str, ...]], header: str) -> str:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header.split(","), *rows])
    return str(path)


def reviews(folder: Path, count: int = 60) -> str:
    """Portuguese reviews with a number, and classes with blanks and slashes."""
    rows = []
    for place in range(count):
        text = (GOOD if place % 2 else BAD)[place // 2 % 4]
        rows.append(
            (f"{text} {place % 7} vezes", f"título {place % 3} do livro que li", place * 1.5)
        )
    rows = [
        (*row, "muito bom / ótimo" if place % 2 else "ruim / péssimo")
        for place, row in enumerate(rows)
    ]
    return write(folder / "livros.csv", rows, "comentario,titulo,preco,nota")


def test_a_text_column_is_found_and_its_terms_are_sparse() -> None:
    data = load(AMAZON)

    assert {c.name: c.role for c in data.columns} == {"text": "text", "valence": "target"}
    assert issparse(data.train.x)
    assert data.train.x.format == "csr"
    assert data.train.x.dtype == np.float32
    assert data.train.x.shape == (320, len(data.features) + data.terms)
    assert data.encoder.width == sum(c.width for c in data.columns)
    words = data.train.x[:, len(data.features) :]
    norms = words.multiply(words).sum(1).round(4)
    assert set(norms.tolist()) == {0.0, 2.0}  # of words and of characters 1 each, or no term


def test_accents_stay_and_case_does_not() -> None:
    found = learn(["São João é", "sao joao é"], Span("words", 1, 1), 10)

    assert found.terms == ("joao", "joão", "sao", "são", "é")
    assert found.idf[-1] == min(found.idf)


def test_the_most_common_terms_stay_ties_in_their_order() -> None:
    texts = ["b a", "c a", "d a b"]

    assert learn(texts, Span("words", 1, 1), 2).terms == ("a", "b")
    assert learn(texts, Span("words", 1, 1), 3).terms == ("a", "b", "c")


@pytest.mark.parametrize("texts", [["", ""], ["...", "!!"], ["\U0001f600", "?"]])
def test_texts_without_a_word_have_no_terms(texts: list[str]) -> None:
    assert learn(texts, WORDS, 10).terms == ()
    assert learn(texts, WORDS, 10).encode(texts).shape == (2, 0)


def test_hostile_and_empty_texts_are_encoded() -> None:
    hostile = [
        "\ud7ff\u202e",
        "a" * 100_000,
        "\x00\x01",
        '"; drop table x; --',
        "",
        "日本語 テスト",
    ]
    found = learn([*hostile, *GOOD], PARTS, 100)

    encoded = found.encode(hostile)

    assert np.isfinite(encoded.data).all()
    assert encoded[[4]].nnz == 0


def test_an_encoder_is_plain_values() -> None:
    data = load(AMAZON)

    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))

    assert again == data.encoder
    table = Table("new", {"text": strings(["good camera", None, "zzz qqq"])})
    new, old = again.transform(table), data.encoder.transform(table)
    assert (new != old).nnz == 0
    assert new[[1], len(data.features) :].nnz == 0


def test_the_terms_are_those_of_the_training_rows(tmp_path: Path) -> None:
    rows = [(f"word{place} likes the sea a lot", f"{place % 2}x") for place in range(50)]
    path = write(tmp_path / "t.csv", rows, "t,y")
    data = load(Request(path, "y", text=("t",), characters="0", ngrams="1"))

    (feature,) = data.encoder.features
    numbers = {term for term in feature.vocabularies[0].terms if term.startswith("word")}

    assert len(numbers) == data.counts["train"] == 32


@pytest.mark.parametrize(("case", "terms"), [("lower", ("rio",)), ("kept", ("RIO", "Rio", "rio"))])
def test_capitals_make_another_term_if_asked(
    tmp_path: Path, case: str, terms: tuple[str, ...]
) -> None:
    rows = [(("rio", "Rio", "RIO")[place % 3], f"{place % 2}x") for place in range(60)]
    path = write(tmp_path / "t.csv", rows, "t,y")
    data = load(Request(path, "y", text=("t",), characters="0", ngrams="1", case=case))
    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))

    assert data.encoder.features[0].vocabularies[0].terms == terms
    table = Table("new", {"t": strings(["Rio", "rIo"])})
    counts = again.transform(table)[:, len(data.features) :].toarray()
    assert (counts > 0).sum(1).tolist() == ([1, 0] if case == "kept" else [1, 1])
    assert ("with capitals" in data.columns[0].note) == (case == "kept")


def test_several_text_columns_beside_others(tmp_path: Path) -> None:
    request = Request(reviews(tmp_path), "nota")
    data, test = load(request), load_test(request)

    assert {c.name: c.role for c in data.columns} == {
        "comentario": "text", "titulo": "categorical", "preco": "numeric", "nota": "target"
    }  # fmt: skip
    both = load(Request(reviews(tmp_path), "nota", text=("titulo", "comentario")))
    assert {c.name: c.role for c in both.columns}["titulo"] == "text"
    assert both.terms > data.terms > 0
    assert data.classes == ("muito bom / ótimo", "ruim / péssimo")
    assert test.x.shape == (12, data.encoder.width)
    assert "preco" in data.features


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ngrams": "2:1"}, "--ngrams 2:1: write LO:HI with lengths from 1 to 5, or 0 for none"),
        ({"ngrams": "a"}, "--ngrams a: write LO:HI"),
        ({"characters": "0:3"}, "--characters 0:3: write LO:HI with lengths from 1 to 10"),
        ({"vocabulary": 0}, "--vocabulary 0: from 1 to 1,000,000 terms of each kind."),
        ({"case": "keep"}, "--case keep: there are lower and kept. Did you mean 'kept'?"),
    ],
)
def test_a_range_without_meaning_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        spans(Request("x", **change))  # type: ignore[arg-type]

    assert str(error.value).startswith(sentence)


def test_the_terms_are_part_of_what_a_study_is() -> None:
    from dataclasses import replace

    prints = {
        load(each).fingerprint
        for each in (
            AMAZON, replace(AMAZON, ngrams="1"), replace(AMAZON, vocabulary=50),
            replace(AMAZON, case="kept"),
        )
    }  # fmt: skip

    assert len(prints) == 4


def test_what_was_understood_of_a_text_is_shown() -> None:
    text = describe(AMAZON).text()

    assert "terms of 1 to 2 words" in text
    assert "terms of 4 characters" in text


def test_a_column_of_numbers_can_be_read_as_text(tmp_path: Path) -> None:
    rows = [(str(place % 5), f"{place % 2}x") for place in range(50)]
    data = load(Request(write(tmp_path / "t.csv", rows, "t,y"), "y", text=("t",)))

    assert data.columns[0].role == "text"
    assert data.encoder.features[0].vocabularies[0].terms == ("0", "1", "2", "3", "4")


def test_folds_have_the_terms_that_any_of_them_has() -> None:
    from dataclasses import replace

    data = load(replace(AMAZON, cv=3))

    assert len({fold.train.x.shape[1] for fold in data.folds}) == 1
    assert {fold.train.terms for fold in data.folds} == {data.terms}
    first = len(data.features)
    used = [set((fold.train.x[:, first:].indices).tolist()) for fold in data.folds]
    assert set().union(*used) == set(range(data.terms))
    assert used[0] != used[1]
