"""What any pretrained model has to beat: a bag of words, fitted in seconds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.data.sampling import stratified_order
from nlptl.metrics.statistics import most_frequent
from nlptl.tasks.base import Task

#: Inverse strengths of the L2 penalty: TF-IDF features are small, so weaker ones than a probe's.
GRID = (0.1, 1.0, 10.0, 100.0)
#: Training texts at most: of all, and of those that the penalty is chosen with.
WORDED, CHOOSING = 100_000, 10_000
#: Most different words and pairs of words, and most weights over all classes; the frequent ones stay.
WORDS, WEIGHTS = 200_000, 5_000_000
#: Function from features to predictions.
Predict = Callable[[Any], list[Any]]


def bag_of_words(task: Task, splits: Mapping[str, Any]) -> list[Any] | None:
    """Predict the test examples from their words alone, with scikit-learn.

    TF-IDF of words and pairs of words (sublinear counts), for each text of a pair, and for a pair the cosine
    of the two. On it: for classes logistic regression, for several labels one for each, for numbers ridge
    regression. For a class a word, each word's most frequent one in training.

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
    bag = Bag(train, most=min(WORDS, WEIGHTS // max(1, len(task.labels))))
    features = {"train": bag(train), **{name: bag(texts[name]) for name in ("validation", "test")}}
    few = _sample(known, CHOOSING)
    part, own = features["train"][few], [known[row] for row in few]
    best, most, found = GRID[0], -np.inf, []
    for strength, predict in _fits(kind, part, own, task.labels, GRID):
        score = score_of(task, golds["validation"], predict(features["validation"]))
        if score > most:  # the strongest penalty among equals
            best, most, found = strength, score, predict(features["test"])
    if len(few) < len(known):
        ((_, predict),) = _fits(kind, features["train"], known, task.labels, [best])
        return predict(features["test"])
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


def _fits(
    kind: str, features: Any, gold: Sequence[Any], labels: Sequence[str], strengths: Sequence[float]
) -> Iterator[tuple[float, Predict]]:
    """Fit a linear model for each strength, each from the solution of the one before.

    Yields:
        The strength, and the function that predicts features, until the next one is asked for.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    def regression() -> Any:
        return LogisticRegression(max_iter=1000, warm_start=True)

    columns = {name: np.asarray([name in value for value in gold]) for name in labels}
    models = {  # a label that all or none have needs no model
        name: regression() for name, has in columns.items() if 0 < has.sum() < len(has)
    }
    model, ridge = regression(), Ridge()

    def has_label(name: str, other: Any) -> Any:
        known = models.get(name)
        return known.predict(other) if known else np.full(other.shape[0], columns[name].all())

    def labels_of(other: Any) -> list[list[str]]:
        has = {name: has_label(name, other) for name in labels}
        return [[name for name in labels if has[name][row]] for row in range(other.shape[0])]

    for strength in strengths:
        if kind == "numbers":
            ridge.set_params(alpha=1 / strength).fit(features, np.asarray(gold, float))
            yield strength, lambda other: ridge.predict(other).tolist()
        elif kind == "classes":
            model.set_params(C=strength).fit(features, list(gold))
            yield strength, lambda other: [str(name) for name in model.predict(other)]
        else:
            for name, one in models.items():
                one.set_params(C=strength).fit(features, columns[name])
            yield strength, labels_of


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
    usual = most_frequent([tag for own in tags for tag in own])
    best = {word: min(seen, key=lambda tag: (-seen[tag], tag)) for word, seen in known.items()}
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
