"""What a script is put together from, in the order of the script."""

from nntune.data.encoding import CAPITALS, DIGITS, FAR, HUGE, MARKS, MOST_LEVELS, ROUNDING
from nntune.data.roles import FALSE, TRUE
from nntune.data.table import GROUPED

# What a study may ask of its data, and what a script does and the study did not.
UNLIKE = {
    "group": "deals rows out one by one, and this study kept those of one {} together",
    "time": "deals rows out at random, and this study did so in the order of {}",
    "lags": "reads each row by itself, and this study --lags {} rows before it too",
    "subsample": "learns from all rows, and this study searched on --subsample {} of them",
    "image": "scales each column by itself, and this study all pixels of a channel alike",
    "series": "scales each column by itself, and this study all numbers of a channel alike",
}

HEAD = '''
"""Predict {target}: trial {trial}{several} of the study {study}, in PyTorch alone.

In the search its {metric} was {value}{judged}.{note}
Needs {needs}; run it as: python {name} [DATA]
Written by nntune {version}.
"""
'''

IMPORTS = """
import copy
import sys

import numpy as np
import pandas as pd
import torch
from sklearn import metrics
from torch import nn

"""

IMPORT_TFIDF = "from sklearn.feature_extraction.text import TfidfVectorizer"
JUDGED = " on the same validation rows"
JUDGED_FOLDS = """ in the mean over {} folds;
here one split of the same rows trains and validates"""
NOTE_TERMS = """
There it trained the weights of a term only in the steps in which it occurred; here Adam moves all
in every step, so the score may differ."""

STYLES = {"comma": "map(point)", "thousands": 'str.replace(",", "", regex=False)'}

POINT = f'''
def point(cell):
    """A number with a decimal comma as one with a point; 1.234 is grouped as in 1.234,5."""
    if "," in cell or re.fullmatch(r"{GROUPED}", cell.strip()):
        return cell.replace(".", "").replace(",", ".")
    return cell


'''

NUMBER = '''
def number(cells):
    """As numbers; words and infinities are missing."""
    values = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    return np.where(np.isinf(values), np.nan, values)


'''

TEXT = '''
def text(cells):
    """As texts; a missing one is empty."""
    return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()


'''

NUMERIC = f'''
def numeric(fit, values):
    """Standardised by the training cells; a gap is the median and has a feature of its own."""
    known, gaps = fit[~np.isnan(fit)], np.isnan(values)
    unit = max(1.0, np.abs(known).max() / {HUGE:g})  # squares of very large numbers are infinite
    known, filled = known / unit, np.where(gaps, np.median(known / unit), values / unit)
    sd = known.std() * (np.ptp(known) > {ROUNDING:g} * np.abs(known).max()) or 1.0
    scaled = np.clip((filled - known.mean()) / sd, -{FAR:g}, {FAR:g})
    return [scaled, gaps] if np.isnan(fit).any() else [scaled]


'''
PLACES = '''
def places(fit, values):
    """In each of some bins with equal counts, the share of the way through it."""
    known, values = numeric(fit, fit[~np.isnan(fit)])[0], numeric(fit, values)[0]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="inverted_cdf"))
    pairs = zip(edges, edges[1:]) if len(edges) > 2 else ()
    return [np.clip((values - low) / (high - low), 0, 1) for low, high in pairs]


'''

FLAG = '''
def flag(fit, values):
    """Yes is 1 and no is 0; a gap is 0 and has a feature of its own."""
    gaps = np.isnan(values)
    filled = np.where(gaps, 0, values)
    return [filled, gaps] if np.isnan(fit).any() else [filled]


'''

YES_OR_NO = f'''
def yes_or_no(cells):
    """1, 0 or nan."""
    yes, no = {sorted(TRUE)}, {sorted(FALSE)}
    words = dict.fromkeys(yes, 1.0) | dict.fromkeys(no, 0.0)
    return text(cells).str.lower().map(words).to_numpy(float)


'''

CATEGORICAL = f'''
def categorical(fit, cells):
    """A feature for each frequent category, one for the rare ones, one for gaps."""
    counts = fit[fit != ""].value_counts()
    least = min(5, max(2, len(fit) // 50))
    kept = counts[counts >= least].index[:{MOST_LEVELS}]
    found = [cells == level for level in kept]
    if len(kept) < len(counts):
        found.append((cells != "") & ~cells.isin(kept))
    if (fit == "").any():
        found.append(cells == "")
    return found


'''

PARTS = f'''
def scaled_parts(fit, parts):
    """The parts that vary, standardised by those of the training cells; a gap is 0."""
    found = []
    for old, new in zip(fit.T, parts.T):
        known = old[~np.isnan(old)]
        if known.min() < known.max():
            sd = known.std() * (np.ptp(known) > {ROUNDING:g} * np.abs(known).max()) or 1.0
            scaled = np.clip((new - known.mean()) / sd, -{FAR:g}, {FAR:g})
            found.append(np.nan_to_num(scaled))
    return [*found, np.isnan(parts[:, 0])] if np.isnan(fit[:, 0]).any() else found


'''

DATE = '''
def date(cells, pattern):
    """Days since 1970, year, month, day of the week and of the year, hour."""
    moments = pd.to_datetime(cells, format=pattern, errors="coerce", utc=True)
    days = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    part = moments.dt
    parts = [days, part.year, part.month, part.day_of_week, part.day_of_year, days % 1 * 24]
    return np.column_stack(parts).astype(float)


'''

PROSE = '''
def prose(cells):
    """Length, words, length of a word, shares of capitals, digits and punctuation."""
    rows = []
    for cell in text(cells):
        size, words = len(cell), len(cell.split())
        marks = [len(re.findall(p, cell)) / max(size, 1) for p in PATTERNS]
        mean = (size - words + 1) / words if words else 0.0
        rows.append([np.log1p(size), np.log1p(words), mean, *marks])
    return np.array(rows)


'''
TFIDF = '''
def tfidf(fit, cells, **options):
    """Weights of the terms that most training texts have."""
    options |= {"sublinear_tf": True, "dtype": np.float32}
    fit = fit[fit != ""]
    every = TfidfVectorizer(**options).fit(fit)
    often = np.sort(np.argsort(every.idf_, kind="stable")[:VOCABULARY])
    chosen = every.get_feature_names_out()[often]
    return TfidfVectorizer(**options, vocabulary=chosen).fit(fit).transform(cells)


'''
PATTERNS = [CAPITALS.pattern, DIGITS.pattern, MARKS.pattern]

CALL_NUMERIC = """
for name in NUMBERS:
    found += numeric(number(train[name]), number(table[name]))
"""
CALL_PLACES = """
for name in NUMBERS:
    found += places(number(train[name]), number(table[name]))
"""
CALL_FLAG = """
for name in FLAGS:
    fit, values = (yes_or_no(pd.Series(number(t[name]))) for t in (train, table))
    found += flag(fit, values)
"""
CALL_YES = """
for name in YES_OR_NO:
    found += flag(yes_or_no(train[name]), yes_or_no(table[name]))
"""
CALL_CODES = """
for name in CODES:
    fit, cells = (text(pd.Series(number(t[name]))) for t in (train, table))
    found += categorical(fit, cells)
"""
CALL_WORDS = """
for name in WORDS:
    found += categorical(text(train[name]), text(table[name]))
"""
CALL_DATE = """
for name, pattern in DATES.items():
    found += scaled_parts(date(train[name], pattern), date(table[name], pattern))
"""
CALL_PROSE = """
for name in TEXTS:
    found += scaled_parts(prose(train[name]), prose(table[name]))
"""

CALL_TFIDF = """
for name in TEXTS:
    for options in TERMS:
        terms.append(tfidf(text(train[name]), text(table[name]), **options))
"""

ENCODE_TERMS = '''
def encode(train, table):
    """Features of a table, as the training rows teach them; sparse, for most terms are absent."""
    found, terms = [], []
{calls}
    dense = [np.column_stack(found).astype(np.float32)] if found else []
    return sparse.csr_array(sparse.hstack([*dense, *terms], format="csr"))


def whole(x):
    """Some rows with their zeros."""
    return torch.from_numpy(x.toarray())


'''
ENCODE = '''
def encode(train, table):
    """Features of a table, as the training rows teach them."""
    found = []
{calls}
    return torch.from_numpy(np.column_stack(found).astype(np.float32))


'''

TARGET_WORD = '''
def target(table):
    """Places of the classes; -1 is missing."""
    return pd.Index(CLASSES).get_indexer(text(table[TARGET])LOWER).astype(np.int64)


'''
TARGET_CODE = '''
def target(table):
    """Places of the classes; -1 is missing."""
    return pd.Index(CLASSES).get_indexer(number(table[TARGET])).astype(np.int64)


'''
TARGET_NUMBER = '''
def target(table):
    """Numbers; nan is missing."""
    return number(table[TARGET])


'''

DEALT = '''
def dealt(y):
    """Rows to train on and rows to validate on; the test rows stay out of it."""
    train, valid = [], []
    for place in range({groups}):
        rows = np.flatnonzero({which})
        seed = np.random.SeedSequence(SEED * 1_000_003 + place)
        rows = rows[np.argsort(np.random.PCG64(seed).random_raw(len(rows)), kind="stable")]
        for_valid, for_test = {valid}, {test}
        valid.append(rows[:for_valid])
        train.append(rows[for_valid + for_test :])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(valid))


'''

SPLIT = """
table = read(DATA)
y = target(table)
rows, valid_rows = dealt(y)
train, valid, y, y_valid = table.iloc[rows], table.iloc[valid_rows], y[rows], y[valid_rows]
"""
SPLIT_FILES = """
table, valid = read(DATA), read(VALID)
y, y_valid = target(table), target(valid)
rows, _ = dealt(y)
present = np.flatnonzero(y_valid >= 0 if y_valid.dtype == np.int64 else ~np.isnan(y_valid))
train, valid, y, y_valid = table.iloc[rows], valid.iloc[present], y[rows], y_valid[present]
"""

ARRAYS_CLASSES = """
x, x_valid = encode(train, train), encode(train, valid)
y, y_valid = torch.from_numpy(y), torch.from_numpy(y_valid)
"""
ARRAYS_NUMBERS = """
x, x_valid = encode(train, train), encode(train, valid)
mean, sd = y.mean(), y.std()
truth = y_valid
y = torch.tensor((y - mean) / sd, dtype=torch.float32)[:, None]
y_valid = torch.tensor((y_valid - mean) / sd, dtype=torch.float32)[:, None]
"""

OPTIMIZERS = {
    "adam": "torch.optim.Adam(model.parameters(), lr=LR)",
    "sgd": "torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)",
}
PREDICTED_CLASSES = "probabilities = outputs.double().softmax(1).numpy()"
PREDICTED_NUMBERS = "predicted = outputs[:, 0].double().numpy() * sd + mean"
PENALTY = "\n        loss = loss + sum(L1 * w.abs().sum() + L2 * w.square().sum() for w in weights)"

_CLASS = "y_valid, probabilities.argmax(1)"
SCORES = {
    "log_loss": "log_loss(y_valid, probabilities, labels=range(len(CLASSES)))",
    "accuracy": f"accuracy_score({_CLASS})",
    "balanced_accuracy": f"balanced_accuracy_score({_CLASS})",
    "auc": "roc_auc_score(y_valid, probabilities[:, 1])",
    "f1": f'f1_score({_CLASS}, average="binary" if len(CLASSES) == 2 else "macro")',
    "rmse": "root_mean_squared_error(truth, predicted)",
    "mae": "mean_absolute_error(truth, predicted)",
    "r2": "r2_score(truth, predicted)",
}

MODEL = """
torch.manual_seed(SEED)
torch.set_num_threads(1)  # small matrices are faster so
model = nn.Sequential(
    {network}
)
average = copy.deepcopy(model)  # of the weights over about the last hundred steps
optimizer = {optimizer}
loss_of = nn.{loss}()
"""

SCORE = '''
def score():
    """The metric of the average on the validation rows, and the loss, which breaks ties."""
    average.eval()
    with torch.no_grad():
        outputs = average({rows})
    {predicted}
    value = metrics.{score}
    return value, float(loss_of(outputs, y_valid))
'''

TRAINING = """{weights}
step, best, best_epoch = 0, (np.inf, np.inf), 0
for epoch in range(1, EPOCHS + 1):
    model.train()
    for batch in torch.randperm(len(y)).split(BATCH_SIZE):
        loss = loss_of(model({rows}), y[batch]){penalty}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters()):
                kept.lerp_(new, max(0.01, 9 / (9 + step)))
        step += 1
    value, loss = score()
    if ({sign}value, loss) < best:
        best, best_epoch = ({sign}value, loss), epoch
        winner = copy.deepcopy(average)  # the network to use
    elif epoch - best_epoch >= PATIENCE:
        break

print(f"{metric} {{{sign}best[0]:.6g}} on {{len(y_valid)}} rows, epoch {{best_epoch}} of {{epoch}}")
"""
WEIGHTS = "weights = [p for p in model.parameters() if p.dim() == 2]  # biases are not penalised"
