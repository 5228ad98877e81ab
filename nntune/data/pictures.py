"""A folder of pictures, a sub-folder for each class, as a table of their pixels.

Pictures are read by Pillow, an extra of nntune, sorted by their paths. They are grey if all are,
else red, green and blue; --image gives another size or number of colours. Of 16 bits the upper 8
count.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.table import Cells, Numbers, Table, strings
from nntune.errors import DataError, UsageError
from nntune.families import Grid

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg")
TARGET = "class"


def is_folder(source: str) -> bool:
    """Whether a source is a folder of pictures."""
    return Path(source).is_dir()


def read_pictures(source: str, size: str | None = None) -> Table:
    """The table of a folder: pixels x0, x1, ... channel after channel, and the class.

    Args:
        source: the folder; pictures that lie in no sub-folder have no class.
        size: HEIGHTxWIDTH for grey, HEIGHTxWIDTHx3 for colours; that of the pictures if not given.

    Raises:
        DataError: there are none, one cannot be read, or they differ in size and none is given.
        UsageError: the size is none.
    """
    folder = Path(source)
    there = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    paths = [path for path in there if path.suffix.lower() in ENDINGS]
    if not paths:
        raise DataError(
            f"{source} is a folder without pictures; name one file in it, or a folder that has a "
            "sub-folder of png or jpg files for each class"
        )
    pixels, notes = _pixels(paths, folder, None if size is None else _sides(size))
    columns: dict[str, Cells] = {
        f"x{place}": Numbers(column)
        for place, column in enumerate(np.ascontiguousarray(pixels.reshape(len(pixels), -1).T))
    }
    relative = [path.relative_to(folder) for path in paths]
    parts = [path.parts for path in relative]
    classes = strings([each[0] if len(each) > 1 else None for each in parts])
    grid = Grid(pixels.shape[1], (pixels.shape[2], pixels.shape[3]))
    return Table(
        folder.name,
        {**columns, TARGET: classes},
        target=TARGET,
        notes=(*_left_out(folder, there, paths), *notes),
        grid=grid,
        # The bytes of a name need not be text.
        files=tuple(path.as_posix().encode("utf-8", "replace").decode() for path in relative),
    )


def _left_out(folder: Path, there: Sequence[Path], paths: Sequence[Path]) -> Iterator[str]:
    """Sentences on files that are no pictures, and on sub-folders without any."""
    others = sorted(set(there) - set(paths))
    if others:
        such = others[0].relative_to(folder).as_posix()
        yield (
            f"{len(others):,} file{'s' * (len(others) > 1)} of {folder.name} left out, such as "
            f"{such!r}: only png and jpg are read"
        )
    used = {path.relative_to(folder).parts[0] for path in paths}
    for name in sorted(p.name for p in folder.iterdir() if p.is_dir()):
        if name not in used and not name.startswith("."):
            yield f"sub-folder {name!r} of {folder.name} has no png or jpg files, so it is no class"


def _sides(size: str) -> tuple[int, int, int]:
    """Height, width and channels."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:x([13]))?", size)
    if match is None:
        raise UsageError(
            f"--image {size}: for a folder of pictures write HEIGHTxWIDTH, such as 32x32 for grey "
            "and 32x32x3 for colours."
        )
    return int(match[1]), int(match[2]), int(match[3] or 1)


def _pixels(
    paths: Sequence[Path], folder: Path, sides: tuple[int, int, int] | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """The pictures (N, C, H, W), and a sentence on those that were of another size."""
    library = _library()
    if sides is None:
        sides = _own_sides(paths, folder, library)
    height, width, channels = sides
    pixels, others = np.empty((len(paths), channels, height, width), np.uint8), list[str]()
    for place, path in enumerate(paths):
        picture = _opened(path, folder, library).convert("L" if channels == 1 else "RGB")
        if picture.size != (width, height):
            others.append(f"{path.relative_to(folder).as_posix()!r} of {_size(picture.size)}")
            picture = picture.resize((width, height), library.Resampling.BILINEAR)
        pixels[place] = np.moveaxis(np.atleast_3d(np.asarray(picture)), 2, 0)
    count, size = len(others), _size((width, height))
    resized = f"picture{'s are' if count > 1 else ' is'} brought to {size} pixels"
    return pixels, [f"{count:,} {resized}, such as {others[0]}"] if others else []


def _size(size: tuple[int, int]) -> str:
    width, height = size
    return f"{height} x {width}"


def _own_sides(paths: Sequence[Path], folder: Path, library: Any) -> tuple[int, int, int]:
    pictures = [_opened(path, folder, library) for path in paths]
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        first, second = map(_size, sorted(sizes)[:2])
        raise DataError(
            f"the pictures of {folder.name} differ in size ({first} and {second}); "
            "--image HEIGHTxWIDTHx3 brings them to one"
        )
    ((width, height),) = sizes
    is_grey = all(picture.mode in ("1", "L") for picture in pictures)
    return height, width, 1 if is_grey else 3


def _opened(path: Path, folder: Path, library: Any) -> "Image":
    try:
        with library.open(path) as picture:
            picture.load()
            if picture.mode.startswith("I"):  # 16 bits of grey, of which Pillow would make white
                picture = library.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            return picture  # type: ignore[no-any-return]
    except Exception:
        raise DataError(
            f"{path.relative_to(folder)} of {folder.name} cannot be read as a picture; "
            "take it out, or put a whole png or jpg file in its place"
        ) from None


def _library() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UsageError(
            "a folder of pictures needs Pillow; pip install 'nntune[images]' brings it."
        ) from None
    return Image
