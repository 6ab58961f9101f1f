"""Words of the report that a reader may not know."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word with what it means.

    Attributes:
        word: As the glossary lists it.
        pattern: What it looks like in the report.
        meaning: One or two sentences.
    """

    word: str
    pattern: str
    meaning: str

    @property
    def anchor(self) -> str:
        """Name of its place in the glossary."""
        return "term-" + re.sub(r"\W+", "-", self.word.lower())


#: Longer patterns come first, since they are tried in this order.
TERMS = (
    Term(
        "provisional",
        "provisional",
        "Three runs of each side only. --tier standard makes six and takes the word away.",
    ),
    Term(
        "95 % interval",
        r"95\s%\sinterval",
        "Where the true value lies: in about one of twenty such comparisons it lies outside.",
    ),
    Term(
        "bag of words",
        "[Bb]ag of words",
        "The cheap way: a logistic regression on which words and pairs of words a text has, without a "
        "language model (for numbers a ridge regression, for tags each word's most frequent tag). It is "
        "trained in seconds.",
    ),
    Term(
        "probe on random weights",
        "probe on random weights",
        "A linear probe on a model of the same shape that never saw a text: what the shape alone gives.",
    ),
    Term(
        "linear probe",
        "[Ll]inear probe",
        "A logistic regression on what the untouched checkpoint makes of a text: what it knows before "
        "fine-tuning.",
    ),
    Term(
        "zero-shot",
        "zero-shot",
        "The checkpoint without any training: it fills in the name of a class after the text, or compares two "
        "texts, or a text and the names of the classes, by the cosine of their states.",
    ),
    Term(
        "from scratch",
        "[Ff]rom scratch|[Ss]cratch",
        "The same model from random weights, trained in full on the same examples: what there is without "
        "pretraining.",
    ),
    Term(
        "always one answer",
        "[Aa]lways one answer",
        "The most frequent class of the training set, whatever the text says.",
    ),
    Term(
        "nats",
        "nats",
        "A loss: the negative logarithm of the probability that the model gives to a hidden word. Lower is "
        "better; 0.7 nats more is half the probability.",
    ),
    Term(
        "CKA",
        "CKA",
        "How alike the states of two models are (centred kernel alignment, Kornblith et al., 2019): 1 is the "
        "same, 0 has nothing in common.",
    ),
    Term(
        "FLOP",
        "[kMGTPE]?FLOP",
        "Operations of arithmetic: what training costs, whatever the machine. 1 TFLOP is 10^12 of them.",
    ),
    Term(
        "sd",
        "sd",
        "Standard deviation over the runs: how far a run with another seed typically is from the mean.",
    ),
    Term(
        "points",
        "points",
        "Hundredths of the score: from 80.0 to 81.0 is one point.",
    ),
    Term(
        "p",
        "p(?==|&lt;)|p(?= over)|^p$",
        "Chance of a difference as large as this one or larger if there were none.",
    ),
)
_ANY = re.compile(
    "|".join(f"(?P<t{n}>(?<![\\w-])(?:{term.pattern})(?!\\w))" for n, term in enumerate(TERMS))
)


def find_terms(text: str) -> list[tuple[re.Match[str], Term]]:
    """Find each term of the glossary where a text has it first.

    Args:
        text: Escaped for HTML.

    Returns:
        Matches in the order of the text.
    """
    found: dict[str, tuple[re.Match[str], Term]] = {}
    for match in _ANY.finditer(text):
        term = TERMS[int((match.lastgroup or "t0")[1:])]
        found.setdefault(term.word, (match, term))
    return list(found.values())
