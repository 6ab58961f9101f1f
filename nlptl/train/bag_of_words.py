"""What any pretrained model has to beat: a bag of words, fitted in seconds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.data.sampling import stratified_order
from nlptl.metrics.statistics import most_frequent
from nlptl.tasks.base import Task

#: Inverse strengths of the L2 penalty: TF-IDF features are small, so weaker ones than a probe's.
GRID = (0.1, 1.0, 10.0, 100.0)
#: Training texts at most: of all, and of those that the penalty is chosen with.
WORDED, CHOOSING = 100_000, 10_000
#: Most different words and pairs of words; the frequent ones stay.
WORDS = 200_000
#: Precision of the fit (scikit-learn's tol): predictions no longer change long before this.
PRECISION = 1e-2
#: Why there is no bag of words, for a task that :func:`bag_of_words` does not know.
NO_WORDS = "no linear model of words answers the task {}"


def bag_of_words(task: Task, splits: Mapping[str, Any]) -> list[Any] | None:
    """Predict the test examples from their words alone, with scikit-learn.

    TF-IDF of words and pairs of words (sublinear counts), for each text of a pair, and for a pair the cosine
    of the two. On it: for classes a logistic regression of each class against the others, of which the surest
    wins; for several labels the same; for numbers ridge regression. For a class a word, each word's most
    frequent one in training.

    The penalty is chosen by the task's own metric on validation examples.

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``, labelled.

    Returns:
        A prediction for each test example, in the form of :meth:`nlptl.tasks.base.Task.gold`; None if the task
        is none of these kinds.

    Raises:
        ValueError: If no training text has a word of two letters or digits.
    """
    golds = {name: task.gold(table) for name, table in splits.items()}
    if task.split_into_words and task.labels:
        words = {name: splits[name][task.fields[0]][:] for name in ("train", "test")}
        return word_by_word(words["train"], golds["train"], words["test"])
    kind = kind_of_gold(task, golds["train"])
    if kind is None:
        return None
    texts = {name: [table[field][:] for field in task.fields] for name, table in splits.items()}
    rows = _sample(golds["train"], WORDED)
    train = [[column[row] for row in rows] for column in texts["train"]]
    known = [golds["train"][row] for row in rows]
    bag = Bag(train)
    seen, chosen_on, asked = bag(train), bag(texts["validation"]), bag(texts["test"])
    few = _sample(known, CHOOSING)
    part, own = seen[few], [known[row] for row in few]
    best, most, found = GRID[0], -np.inf, []
    for strength in GRID:
        answers, candidates = _answers(kind, part, own, task.labels, strength, [chosen_on, asked])
        score = score_of(task, golds["validation"], answers)
        if score > most:  # the strongest penalty among equals
            best, most, found = strength, score, candidates
    if len(few) < len(known):
        (found,) = _answers(kind, seen, known, task.labels, best, [asked])
    return found


def kind_of_gold(task: Task, gold: Sequence[Any]) -> str | None:
    """Name what the gold values are: ``classes``, ``labels``, ``numbers``, or None for another form."""
    if task.labels:
        lists = all(isinstance(value, list) for value in gold)
        one = all(isinstance(value, str) for value in gold)
        return "classes" if one else "labels" if lists else None
    numbers = all(isinstance(value, int | float) for value in gold)
    return "numbers" if numbers and task.label_dtype.is_floating_point else None


class Bag:
    """TF-IDF of words and pairs of words of one or more texts an example.

    Args:
        columns: The texts that the words come from, a list for each field.
        most: Most different words and pairs for each field.
    """

    def __init__(self, columns: Sequence[Sequence[str]], *, most: int = WORDS) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer: Any = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=most
        )
        self.vectorizer.fit([text for column in columns for text in column])

    def __call__(self, columns: Sequence[Sequence[str]]) -> Any:
        """Compute the features, a sparse matrix ``(examples, features)``."""
        from scipy import sparse

        each = [self.vectorizer.transform(column) for column in columns]
        if len(each) == 2:
            each.append(sparse.csr_matrix(each[0].multiply(each[1]).sum(axis=1)))
        return each[0] if len(each) == 1 else sparse.hstack(each).tocsr()


def _sample(gold: Sequence[Any], most: int) -> np.ndarray:
    if len(gold) <= most:
        return np.arange(len(gold))
    return np.sort(stratified_order(list(map(str, gold)), 0)[:most])


def _answers(
    kind: str,
    features: Any,
    gold: Sequence[Any],
    labels: Sequence[str],
    strength: float,
    others: Sequence[Any],
) -> list[list[Any]]:
    """Fit a linear model, and predict each of some other sets of features."""
    if kind == "numbers":
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / strength).fit(features, np.asarray(gold, float))
        return [model.predict(other).tolist() for other in others]
    several = kind == "labels"
    columns = [[name in value if several else name == value for value in gold] for name in labels]
    if not several and len(labels) == 2:
        upper = _log_odds(features, np.asarray(columns[1]), strength, others)
        odds = [np.stack([-each, each], axis=1) for each in upper]
    else:
        every = [_log_odds(features, np.asarray(column), strength, others) for column in columns]
        odds = [np.stack(each, axis=1) for each in zip(*every, strict=True)]
    if several:
        return [
            [[labels[int(i)] for i in np.flatnonzero(row > 0)] for row in each] for each in odds
        ]
    return [[labels[int(i)] for i in each.argmax(axis=1)] for each in odds]


def _log_odds(
    features: Any, column: np.ndarray, strength: float, others: Sequence[Any]
) -> list[np.ndarray]:
    """Fit a logistic regression; what all or none have needs no fit.

    The dual solver passes over the words that a text has, and not over all weights, as L-BFGS does: it takes a
    small part of the time.
    """
    if column.all() or not column.any():
        return [np.full(other.shape[0], np.inf if column.all() else -np.inf) for other in others]
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=PRECISION, max_iter=1000, random_state=0
    )
    model.fit(features, column)
    return [model.decision_function(other) for other in others]


def word_by_word(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    others: Sequence[Sequence[str]],
) -> list[list[str]]:
    """Give each word the tag that it most often has in training, and a new word the most frequent tag.

    Args:
        sentences: Words of the training sentences.
        tags: Their tags.
        others: Words of the sentences to tag.
    """
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for words, own in zip(sentences, tags, strict=True):
        for word, tag in zip(words, own, strict=True):
            known[word][tag] += 1
    usual: str = most_frequent([tag for own in tags for tag in own])
    best: dict[str, str] = {
        word: min(seen, key=lambda tag: (-seen[tag], tag)) for word, seen in known.items()
    }
    return [[best.get(word, usual) for word in words] for words in others]


def as_records(gold: Sequence[Any], predicted: Sequence[Any]) -> list[dict[str, Any]]:
    """Make predictions of plain answers, as :meth:`nlptl.tasks.base.Task.score` takes them."""
    made = []
    for number, (true, answer) in enumerate(zip(gold, predicted, strict=True)):
        names = answer if isinstance(answer, list) else [answer]
        sure = {name: 1.0 for name in names if isinstance(name, str)}
        made.append({"id": number, "prediction": answer, "scores": sure, "gold": true})
    return made


def score_of(task: Task, gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Compute the metric that the task's epochs are chosen by, for plain answers."""
    statistics = task.statistics(as_records(gold, predicted))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nan_to_num(task.combine(statistics.mean(axis=0))))
