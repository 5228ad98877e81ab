"""From a source to a plain file on disk: standard input, gzip, and text that is not UTF-8.

DuckDB reads plain UTF-8 only without an extension to download, so other encodings are
decoded here. Copies live in a temporary folder for as long as the reading takes.
"""

import codecs
import gzip
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from nntune.data.pictures import ENDINGS as PICTURES
from nntune.data.request import ENDINGS
from nntune.errors import DataError, did_you_mean, removed

BLOCK = 1 << 20


def shown(source: str) -> str:
    """How messages call a source."""
    return "standard input" if source == "-" else Path(source).name


@cache
def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise DataError("standard input is a terminal; pipe a table into it or name a file")
    return sys.stdin.buffer.read()


def _check(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        raise DataError(f"{source} is a folder; name one file in it")
    if not path.exists():
        folder = path.parent
        others = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        raise DataError(f"there is no file {source}.{did_you_mean(path.name, others)}")
    if not os.access(path, os.R_OK):
        raise DataError(f"{source} may not be read by this user")
    return path


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the length of a call.

    Raises:
        DataError: somebody removed it, or the folder for all such folders.
    """
    try:
        made = TemporaryDirectory(prefix="nntune-")
    except FileNotFoundError:
        raise removed(gettempdir()) from None
    with made as folder:
        try:
            yield Path(folder)
        except Exception:  # whatever came of it
            if not Path(folder).is_dir():
                raise removed(gettempdir()) from None
            raise


@contextmanager
def plain_file(source: str) -> Iterator[Path]:
    """A path whose bytes are the table itself, without gzip; it has no telling name.

    Raises:
        DataError: there is no such file, it is a folder, empty, or its gzip is damaged.
    """
    with scratch() as folder:
        place = folder / "table"
        if source == "-":
            place.write_bytes(_standard_input())
        elif not _check(source).is_file():
            # A pipe such as <(zcat table.csv.gz) can be read once only.
            place.write_bytes(Path(source).read_bytes())
        else:
            # A link, because DuckDB takes brackets and stars in a path for a pattern.
            place.symlink_to(Path(source).resolve())
        with place.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        if zipped:
            place = _unzipped(place, source)
        if place.stat().st_size == 0:
            raise DataError(f"{shown(source)} is empty")
        yield place


def _unzipped(path: Path, source: str) -> Path:
    out = path.with_name("unzipped")
    try:
        with gzip.open(path) as packed, out.open("wb") as file:
            shutil.copyfileobj(packed, file, BLOCK)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        what = "ends too early" if isinstance(error, EOFError) else "is damaged"
        raise DataError(f"{shown(source)}: the gzip data {what}; fetch the file again") from None
    return out


def file_format(source: str, path: Path) -> str:
    """'parquet', 'jsonl', 'npz' or 'csv', from the first bytes, then from the name."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    name = source.lower().removesuffix(".gz")
    if head[:4] == b"PK\x03\x04" and (name == "-" or name.endswith(".npz")):
        return "npz"
    if head[:4] == b"PK\x03\x04":
        raise DataError(f"{shown(source)} is a zip file or a spreadsheet; save the table as csv")
    ending = next((e for e in ENDINGS if name.endswith(e)), "")
    if ending in (".parquet", ".pq"):
        return "parquet"
    if ending == ".npz":
        return "npz"
    if ending in (".jsonl", ".ndjson", ".json") or (not ending and head.lstrip()[:1] == b"{"):
        return "jsonl"
    return "csv"


def encoding(path: Path, name: str) -> str:
    """Encoding of a text file: its byte-order mark's, UTF-8, or else Windows-1252 or Latin-1.

    Raises:
        DataError: the bytes are no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8, odd = True, False
    with path.open("rb") as file:
        head = file.read(BLOCK)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        control = sum(head.count(bytes([c])) for c in range(32) if c not in b"\t\n\f\r\x1b")
        if 0 in head or control > len(head) // 100:
            if name.lower().endswith(PICTURES):
                raise DataError(
                    f"{name} is one file; pictures are read from a folder, so name that in which "
                    "it lies"
                )
            raise DataError(f"{name} is not a text file; csv, tsv, jsonl, parquet and npz are read")
        block = head
        while block:
            odd = odd or any(c in block for c in b"\x81\x8d\x8f\x90\x9d")
            utf8 = utf8 and decodes(decoder, block)
            block = file.read(BLOCK)
    if utf8 and decodes(decoder, b"", final=True):
        return "utf-8-sig" if head[:3] == codecs.BOM_UTF8 else "utf-8"
    return "latin-1" if odd else "cp1252"


def decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    """Whether a text goes on like this in the decoder's encoding."""
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def utf8_file(path: Path, name: str) -> tuple[Path, str]:
    """The same text as UTF-8 without a mark, and the encoding it was in."""
    found = encoding(path, name)
    if found == "utf-8":
        return path, found
    out = path.with_name("decoded")
    try:
        with (
            path.open(encoding=found, newline="") as text,
            out.open("w", encoding="utf-8", newline="") as file,
        ):
            shutil.copyfileobj(text, file, BLOCK)
    except UnicodeDecodeError:
        raise DataError(f"{name} starts like UTF-16 and is not; save it as UTF-8") from None
    return out, found


def even_file(path: Path, name: str) -> tuple[Path, str]:
    """The same as UTF-8 with one kind of line end: DuckDB reads no mix of them."""
    plain, found = utf8_file(path, name)
    with plain.open("rb") as file:
        is_mixed = len({line.endswith(b"\r\n") for line in file if line.endswith(b"\n")}) == 2
    if is_mixed:
        text = plain.read_bytes()
        plain = plain.with_name("even")
        plain.write_bytes(even(text))
    return plain, found


def even(text: bytes) -> bytes:
    r"""Text with one kind of line end; those in quotes belong to a cell and stay.

    >>> even(b'a,b\r\n1,"x\r\ny"\n')
    b'a,b\n1,"x\r\ny"\n'
    """
    if text.count(b"\r\n") in (0, text.count(b"\n")):
        return text
    return re.sub(rb'"[^"]*"|\r\n', lambda m: b"\n" if m[0] == b"\r\n" else m[0], text)
