"""How a study looks: tables for a terminal, and the same as values for --json."""

from nntune.report.configuration import space_of
from nntune.report.drawing import draw
from nntune.report.overview import data, data_json, studies, studies_json
from nntune.report.trials import leaderboard, trial, trial_json, trials_json
from nntune.report.winner import best, best_json
from nntune.report.wording import duration, number

__all__ = [
    "best",
    "best_json",
    "data",
    "data_json",
    "draw",
    "duration",
    "leaderboard",
    "number",
    "space_of",
    "studies",
    "studies_json",
    "trial",
    "trial_json",
    "trials_json",
]
