"""One network beside averages: seeds of one configuration, several configurations, and both.

A search of each table, and what `refit` makes of it in five ways, scored on the test rows. Prints a
line for each search: the test value of one network, and the change by each average.

    python -m benchmarks.averages [--data phoneme adult] [--seeds 0 1] [--time 8]
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.datasets import TABLES, path_of
from benchmarks.families import test_rows
from benchmarks.quality import QUALITY
from nntune import session
from nntune.bundle import Predictor
from nntune.bundle.refit import Wanted, refit
from nntune.bundle.scoring import score
from nntune.data.plan import Plan
from nntune.retraining import plan_again
from nntune.study import View

_WAYS = {
    "5 seeds": Wanted(seeds=5),
    "10 seeds": Wanted(seeds=10),
    "ensemble 5": Wanted(ensemble=5),
    "both, 5 seeds": Wanted(ensemble=5, seeds=5),
}


def tested(view: View, wanted: Wanted, plan: Plan) -> float:
    """The study's metric on the test rows."""
    table, y = test_rows(plan)
    bundle, metric = refit(view, wanted, plan).bundle, view.definition.metric
    return score(bundle.task, Predictor(bundle).values(table), y, [metric])[metric]


def main() -> None:
    """Prints a line for each search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TABLES, default=QUALITY)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--time", type=float, default=8.0, help="seconds of each search")
    arguments = parser.parse_args()
    print(f"{'data':20} seed {'alone':>10}", *(f"{way:>14}" for way in _WAYS))
    for name in arguments.data:
        if not (path := path_of(name)):
            continue
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                view = session.search(
                    path, TABLES[name].target, time=arguments.time, seed=seed,
                    db=Path(folder, "study.db"), workers=2, confirm=0, keep=5,
                )  # fmt: skip
                plan = plan_again(view)
                alone = tested(view, Wanted(), plan)
                changes = (f"{tested(view, w, plan) / alone - 1:14.1%}" for w in _WAYS.values())
                print(f"{name:20} {seed:4} {alone:10.4g}", *changes, flush=True)


if __name__ == "__main__":
    main()
