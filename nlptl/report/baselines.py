"""What any pretrained model has to beat: a bag of words."""

from collections.abc import Sequence
from typing import Any

from nlptl.report.probe import choose_penalty

#: Inverse L2 penalties for TF-IDF features, which are small: weaker ones than a probe's.
GRID = (0.1, 1.0, 10.0, 100.0)


def bag_of_words(
    train: tuple[Sequence[str], Sequence[str]],
    validation: tuple[Sequence[str], Sequence[str]],
    test: Sequence[str],
) -> list[str]:
    """Classify texts by TF-IDF of words and pairs of words, with scikit-learn's logistic regression.

    Sublinear counts; the penalty is chosen on validation texts.

    Args:
        train: Texts and their classes.
        validation: The same.
        test: Texts.

    Returns:
        A class a test text.

    Raises:
        ValueError: If no training text has a word of two letters or digits.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words: Any = vectorizer.fit_transform(train[0])
    known = vectorizer.transform(validation[0]), validation[1]
    model = choose_penalty((words, train[1]), known, grid=GRID).model
    return [str(name) for name in model.predict(vectorizer.transform(test))]
