"""What predictions cost: rows a second from file to file on one core, and memory for a large file.

    python -m benchmarks.predict DATA -t TARGET [--rows 1000000] [--gigabytes 0.5]

DATA is repeated to as many rows as asked, and to a file of as many gigabytes. The network is an
untrained one of the default configuration: weights do not change what it costs. The command runs in
a process of its own, with one core, so its start counts too.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nntune
from nntune import bundle
from nntune.bundle import Bundle
from nntune.data import Request
from nntune.data.files import plain_file
from nntune.data.learning import load
from nntune.networks import initial
from nntune.trials import Shape


def network(request: Request) -> Bundle:
    """An untrained network of two hidden layers of 128 units on a table."""
    learnt = load(request)
    shape = Shape(learnt.train.x.shape[1], (128, 128), len(learnt.classes) or 1)
    return Bundle(
        parameters=(initial(shape, 0, 0),),
        shapes=(shape,),
        task=learnt.task,
        target=learnt.target,
        classes=learnt.classes,
        target_mean=learnt.target_mean,
        target_scale=learnt.target_scale,
        encoder=learnt.encoder.to_dict(),
        columns=learnt.columns,
        metrics={},
        versions={"nntune": nntune.__version__},
        fingerprint=learnt.fingerprint,
        params={},
        trials=(0,),
        seed=0,
        command="",
        data={},
    )


def repeated(source: str, path: Path, *, rows: int = 0, size: float = 0.0) -> int:
    """Writes a csv file again and again below its header; returns its rows."""
    with plain_file(source) as plain:
        header, body = plain.read_bytes().split(b"\n", 1)
    body = body.rstrip(b"\n") + b"\n"
    count = body.count(b"\n")
    times = max(-(-rows // count), int(size // len(body)), 1)
    with path.open("wb") as file:
        file.write(header + b"\n")
        for _ in range(times):
            file.write(body)
    return times * count


def predicted(model: Path, table: Path, out: Path, *flags: str) -> tuple[float, float]:
    """Seconds of the command on one core, and its largest memory in MB."""
    core = str(sorted(os.sched_getaffinity(0))[0])
    command = [sys.executable, "-m", "nntune", "predict", str(model), str(table), "-o", str(out)]
    script = (
        "import os, resource, subprocess, sys\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
        "sys.exit(code)\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--force", *flags],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return seconds, float(done.stdout)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("-t", "--target", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, help="where the large file goes for the while")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        model, table, out = folder / "model.nnt", folder / "table.csv", folder / "out.csv"
        bundle.write(model, network(Request(given.data, given.target)))
        rows = repeated(given.data, table, rows=given.rows)
        for flags in ([], ["--proba"]):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds, memory = predicted(model, table, out, *flags)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{rows:,} rows{' --proba' * bool(flags)}: {seconds:.1f} s, "
                f"{rows / seconds:,.0f} rows/s ({rows / cpu:,.0f} a second of processor time), "
                f"{memory:.0f} MB at most"
            )
        rows = repeated(given.data, table, size=given.gigabytes * 1e9)
        seconds, memory = predicted(model, table, out)
        size = table.stat().st_size / 1e9
        print(f"{size:.2f} GB, {rows:,} rows: {seconds:.0f} s, {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
