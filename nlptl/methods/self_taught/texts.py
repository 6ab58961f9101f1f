"""Texts without labels: read, kept apart from the test set, cut to size, shuffled; what an arm sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlptl.data.progress import quiet_datasets
from nlptl.data.sampling import labels_of, subset
from nlptl.data.sources import local_path
from nlptl.data.squad_json import flatten, is_nested, read_json
from nlptl.errors import ConfigError, Problems, listed
from nlptl.methods.self_taught.options import OTHER, SAME, SHUFFLED
from nlptl.tasks.base import Task

#: Data sets that have texts without labels of their own, and these.
BUNDLED = ("bundled/remarks", "bundled/reviews")
USUAL = {SAME: ("bundled/reviews/unlabelled.jsonl",), OTHER: ("bundled/passages",)}
#: The flag that names the texts of a kind.
FLAGS = {SAME: "--unlabelled", OTHER: "--other"}
#: Name of the split with the texts of an arm's first stage.
UNLABELLED = "unlabelled"
#: Fewest texts of a first stage: a tenth is set aside to score on.
LEAST = 20


@dataclass(frozen=True)
class Sees:
    """What an arm sees of a study's splits.

    Attributes:
        texts: Texts of its first stage: ``same``, ``other`` or ``shuffled``; nothing without a first stage.
        most: Most labels to train on and to choose by, together, other ones for each seed; None for all.
    """

    texts: str = ""
    most: int | None = None

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return ``train``, ``validation``, ``test`` and, where there is a first stage, ``unlabelled``."""
        seen = {"test": splits["test"]}
        for name in ("train", "validation"):
            table = splits[name]
            if self.most is not None:
                strata = task.classes(table) or [""] * len(table)
                table = subset(table, strata, labels_of(name, self.most), seed)
            seen[name] = table
        if self.texts:
            table = splits[OTHER if self.texts == OTHER else SAME]
            seen[UNLABELLED] = (
                as_table(shuffled(table["text"][:], seed)) if self.texts == SHUFFLED else table
            )
        return seen


def shuffled(texts: Sequence[str], seed: int) -> list[str]:
    """Deal out the words of all texts to them at random; each text keeps its number of words.

    What is left is how frequent each word is, and how long texts are: neither the order of words nor what
    stands together in a text (the shuffled corpus of Sinha et al., 2021).

    Args:
        texts: The texts.
        seed: Seed of the order.
    """
    words = [text.split() for text in texts]
    ends = np.cumsum([len(each) for each in words])
    every = [word for each in words for word in each]
    order = np.random.default_rng([seed, 11]).permutation(len(every))
    parts = np.split(order, ends[:-1]) if len(ends) else []
    return [" ".join(every[place] for place in part) for part in parts]


def without(texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """Leave out what is among known texts, but for case and spaces, and what occurs again.

    Args:
        texts: The texts.
        known: Texts that must not be among them.
    """
    seen = {_plain(text) for text in known}
    kept = []
    for text in texts:
        if (key := _plain(text)) and key not in seen:
            seen.add(key)
            kept.append(text)
    return kept


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def cut_to(texts: Sequence[str], words: int, seed: int) -> list[str]:
    """Take texts at random until they have so many words, in their order; at least one.

    Args:
        texts: The texts.
        words: Most words, separated by spaces.
        seed: Seed of the choice.
    """
    order: list[int] = np.random.default_rng([seed, 12]).permutation(len(texts)).tolist()
    counts = np.cumsum([len(texts[place].split()) for place in order])
    most = max(1, int(np.searchsorted(counts, words, side="right")))
    return [texts[place] for place in sorted(order[:most])]


def read_texts(name: str, column: str, flag: str) -> list[str]:
    """Read the texts of a file, a folder or a hub name; of SQuAD's json the passages.

    Args:
        name: Name as a flag gives it.
        column: Column of the texts.
        flag: The flag, for messages.

    Raises:
        DataError: If they cannot be read, or there is none.
    """
    path = local_path(name)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    nested = [
        whole
        for file in files
        if file.suffix == ".json" and file.is_file()
        for whole in [read_json(file, f"{flag} {name}")]
        if is_nested(whole)
    ]
    if nested:
        rows = (row for whole in nested for row in flatten(whole, f"{flag} {name}", answers=False))
        return list(dict.fromkeys(row["context"] for row in rows))
    from nlptl.pretrain.corpus import read_documents

    table = read_documents(name, column, flag, column_flag="--unlabelled-column")
    return [text for text in table["text"][:] if text]


def named(config: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of the texts of the same kind and of another one, as the flags give them or as usual.

    Raises:
        ConfigError: If there are none of the same kind.
    """
    usual = USUAL if config.dataset in BUNDLED and config.train_file is None else {}
    found = {SAME: config.unlabelled or usual.get(SAME, ())}
    found[OTHER] = config.other or (() if config.unlabelled else usual.get(OTHER, ()))
    if not found[SAME]:
        raise ConfigError(
            "--unlabelled is missing; expected texts without labels of the same kind as the labelled ones: a "
            "file, a folder or a hub name."
        )
    if both := sorted(set(found[SAME]) & set(found[OTHER])):
        raise ConfigError(
            f"--other {listed(both)} is --unlabelled too; expected texts of another kind."
        )
    return found


def read_unlabelled(config: Any) -> dict[str, list[str]]:
    """Read the texts of the first stage as they are: of the same kind and, if there are such, of another one.

    Raises:
        UserError: With everything that is wrong with them.
    """
    problems, found = Problems(), {}
    for kind, names in named(config).items():
        if names:
            with problems.collect(), quiet_datasets():
                given = (config.unlabelled_column, FLAGS[kind])
                found[kind] = [text for name in names for text in read_texts(name, *given)]
    problems.raise_if_any()
    return found


def kept_apart(
    config: Any, found: Mapping[str, Sequence[str]], task: Task, splits: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leave out texts of the validation and the test set, and of another kind as many words as are too many.

    Args:
        config: Flags of the study.
        found: From :func:`read_unlabelled`.
        task: Task of the labelled examples.
        splits: Its splits.

    Returns:
        ``same`` and, if there are such, ``other``, tables with the one column ``text``; and a record of each:
        ``names``, ``texts``, ``words``, ``left_out`` and ``cut``.

    Raises:
        UserError: If too few are left, for each kind.
    """
    problems, tables, about = Problems(), {}, {}
    held = [text for name in ("validation", "test") for text in task.texts(splits[name])]
    seed = config.seed if config.split_seed is None else config.split_seed
    names, words = named(config), 0
    for kind, texts in found.items():
        kept = without(texts, held)
        own = kept if kind == SAME or not words else cut_to(kept, words, seed)
        if len(own) < LEAST:
            lost = len(texts) - len(kept)
            why = f" ({lost} are empty, occur twice or are of the validation or test set)"
            problems.add(
                f"{FLAGS[kind]} {listed(names[kind])}: expected at least {LEAST} texts, found {len(own)}"
                f"{why if lost else ''}. Give more."
            )
            continue
        tables[kind] = as_table(own)
        count = sum(len(text.split()) for text in own)
        words = count if kind == SAME else words
        about[kind] = {
            "names": list(names[kind]),
            "texts": len(own),
            "words": count,
            "left_out": len(texts) - len(kept),
            "cut": len(kept) - len(own),
        }
    problems.raise_if_any()
    return tables, about


def as_table(texts: Sequence[str]) -> Any:
    """Return texts as a table with the one column ``text``."""
    from datasets import Dataset

    return Dataset.from_dict({"text": list(texts)})
