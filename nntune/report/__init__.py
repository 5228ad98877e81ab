"""How a study looks: tables for a terminal, and the same as values for --json."""

from nntune.report.comparison import sides, trials_compared, trials_compared_json
from nntune.report.drawing import HarmlessConsole, draw
from nntune.report.importance import EVALUATORS, importance, importance_json, importances
from nntune.report.overview import data, data_json, studies, studies_json
from nntune.report.rivals import standing, studies_compared, studies_compared_json
from nntune.report.trials import leaderboard, trial, trial_json, trials_json
from nntune.report.verdict import confirmation, confirmation_json, tested, tested_json
from nntune.report.winner import best, best_json
from nntune.report.wording import duration, number

__all__ = [
    "EVALUATORS",
    "HarmlessConsole",
    "best",
    "best_json",
    "confirmation",
    "confirmation_json",
    "data",
    "data_json",
    "draw",
    "duration",
    "importance",
    "importance_json",
    "importances",
    "leaderboard",
    "number",
    "sides",
    "standing",
    "studies",
    "studies_compared",
    "studies_compared_json",
    "studies_json",
    "tested",
    "tested_json",
    "trial",
    "trial_json",
    "trials_compared",
    "trials_compared_json",
    "trials_json",
]
