"""Peak memory and punctuality of a search on a large table made for it.

    python -m benchmarks.memory [--rows 1000000] [--columns 50] [--time 60] [--format csv]

The search runs as its own processes, which are sampled while it runs (Linux only). The limit is
the encoded data twice over and 700 MB for each worker; what counts against it is the proportional
set size of all processes together, in which a page shared by several is counted once. Anonymous
memory is a process's own; file-mapped memory is libraries and examples, shared by the workers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from nntune import study
from nntune.data.ducks import connect, literal

PER_WORKER = 700e6  # bytes
INTERVAL = 0.1  # seconds between samples
KERNEL = ("Pss", "Anonymous", "Rss")  # of smaps_rollup, in kB


class Peak(NamedTuple):
    """Peaks of one process in bytes; each may be at another moment."""

    role: str
    own: float = 0.0
    mapped: float = 0.0
    seconds: float = 0.0  # when its own memory was largest


class Sampled(NamedTuple):
    """What a search took."""

    peaks: dict[int, Peak]  # by process
    together: float  # bytes, peak of all at one moment
    at: float  # seconds from the start to that moment
    elapsed: float
    code: int


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--time", type=int, default=60, help="seconds to search")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, f"made.{chosen.format}")
        write_table(table, chosen.rows, chosen.columns)
        sampled = search(Path(folder), table, chosen.time)
        view = study.read(Path(folder, "made.db"))
        print(f"{table.name}: {table.stat().st_size / 1e6:.0f} MB on disk")
        Console().print(shown(sampled, view.definition, view.counts(), chosen.time))


def write_table(path: Path, rows: int, columns: int) -> None:
    """Numbers of a normal distribution and a binary target y that three of them decide."""
    normal = "round(sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()), 4)"
    picked = ", ".join(f"{normal} as x{place}" for place in range(columns))
    connection = connect()
    connection.execute("select setseed(0.5)")
    connection.execute(
        f"copy (select *, cast(x0 * x1 + sin(2 * x2) > 0 as integer) as y "
        f"from (select {picked} from range({rows}))) to {literal(path)}"
    )
    connection.close()


def search(folder: Path, table: Path, seconds: int) -> Sampled:
    """Runs a search and samples its processes."""
    command = ["search", str(table), "-t", "y", "--time", f"{seconds}s", "--db", "made.db"]
    began, peaks, together, at = time.monotonic(), dict[int, Peak](), 0.0, 0.0
    process = subprocess.Popen([sys.executable, "-m", "nntune", *command], cwd=folder)
    while process.poll() is None:
        now, whole = time.monotonic() - began, 0.0
        for pid in family(process.pid):
            proportional, own, resident = memory(pid)
            whole += proportional
            before = peaks.get(pid) or Peak(role(pid, process.pid))
            mapped = max(before.mapped, resident - own)
            peaks[pid] = before._replace(mapped=mapped)
            if own > before.own:
                peaks[pid] = before._replace(own=own, mapped=mapped, seconds=now)
        if whole > together:
            together, at = whole, now
        time.sleep(INTERVAL)
    return Sampled(peaks, together, at, time.monotonic() - began, process.returncode)


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from family(int(child))


def memory(pid: int) -> tuple[float, float, float]:
    """Proportional, anonymous and resident bytes; zeros for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0.0, 0.0, 0.0
    sizes = {line.split(":")[0]: 1024.0 * int(line.split()[1]) for line in lines}
    proportional, own, resident = (sizes.get(name, 0.0) for name in KERNEL)
    return proportional, own, resident


def role(pid: int, main: int) -> str:
    if pid == main:
        return "main"
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        if b"resource_tracker" in command:
            return "resource tracker"
        return "fork server" if parent == main else "worker"
    return "ended"


def shown(
    sampled: Sampled, definition: study.Definition, states: dict[str, int], seconds: int
) -> Table:
    counts = definition.data["counts"]
    encoded = 4 * (counts["train"] + counts["valid"]) * definition.data["features"]
    workers = sum(peak.role == "worker" for peak in sampled.peaks.values())
    trials = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    limit = 2 * encoded + PER_WORKER * workers
    table = Table(
        "process", "own MB", "file-mapped MB", "at s",
        title=f"{counts['read']:,} rows, encoded {encoded / 1e6:.0f} MB, {trials}, "
        f"{sampled.elapsed:.1f} s of {seconds} s, exit code {sampled.code}",
    )  # fmt: skip
    for peak in sorted(sampled.peaks.values()):
        sizes = (f"{peak.own / 1e6:.0f}", f"{peak.mapped / 1e6:.0f}", f"{peak.seconds:.1f}")
        table.add_row(peak.role, *sizes)
    table.add_section()
    table.add_row("all at once", f"{sampled.together / 1e6:.0f}", "included", f"{sampled.at:.1f}")
    table.add_row("limit", f"{limit / 1e6:.0f}", f"2 x {encoded / 1e6:.0f} + {workers} x 700", "")
    return table


if __name__ == "__main__":
    main()
