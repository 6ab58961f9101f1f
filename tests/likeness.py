"""What texts have in common: words, runs of words, and the two texts that are most alike."""

import json
import re
from collections import Counter, defaultdict

from nlptl.data.sources import BUNDLED


def read_bundled(name, splits):
    """Read the splits of a bundled set of texts, as lists of rows."""
    return {
        split: [
            json.loads(line)
            for line in (BUNDLED / f"{name}/{split}.jsonl").read_text("utf-8").splitlines()
        ]
        for split in splits
    }


def words(text):
    return re.findall(r"[\w']+", text.lower())


def runs(text, n):
    """Return the runs of ``n`` words of a text; of a shorter text, itself."""
    tokens = words(text)
    return set(zip(*(tokens[i:] for i in range(n)), strict=False)) or {tuple(tokens)}


def closest(texts, others=()):
    """Compare word trigrams of each pair of texts, and of each text with each of the others.

    Returns:
        The number of pairs that share a trigram, and the highest Jaccard similarity.
    """
    shingles = [runs(text, 3) for text in [*texts, *others]]
    where = defaultdict(list)
    for number, own in enumerate(shingles):
        for shingle in own:
            where[shingle].append(number)
    shared = Counter(
        (a, b)
        for numbers in where.values()
        for i, b in enumerate(numbers)
        for a in numbers[:i]
        if a < len(texts)
    )
    return len(shared), max(n / len(shingles[a] | shingles[b]) for (a, b), n in shared.items())
