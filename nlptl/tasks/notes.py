"""Notes: what a run cannot learn, or what makes its scores mean less, in plain sentences.

They are printed, and are in a run's ``result.json`` and its card. Nothing here stops a run.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.data.columns import as_number, values_of
from nlptl.errors import listed, many
from nlptl.tasks.base import EncodedSplit, Task

#: Share of unknown tokens from which on there is a note.
UNKNOWN = 0.05
#: Most rows of a split whose tokens are looked at, evenly spaced.
LOOKED_AT = 2000
#: Names of the splits in sentences.
SETS = {"train": "training", "validation": "validation", "test": "test"}
#: What it means that all numbers of a split are the same.
UNMOVED = {
    "train": "nothing can be learnt",
    "validation": "no epoch can be chosen by a correlation with them, which counts as 0",
    "test": "no correlation with them is defined, and its score of 0 says nothing",
}


def reading_lines(record: Mapping[str, Any]) -> list[str]:
    """Say how the data were read: as which kind of task, and which columns are the texts.

    Args:
        record: Record of the data from a task's ``prepare``.
    """
    kind, found = record.get("kind"), []
    if kind:
        found.append(f"kind: {kind['name']} ({kind['why']})")
    if "texts" in record:
        found.append(f"texts: {record['texts']}")
    return found


def data_notes(task: Task, splits: Mapping[str, Any]) -> list[str]:
    """Look over checked splits: texts in two of them, contradictions, classes that are not there, sizes.

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``, as they will be used.
    """
    keys = {name: list(_keys(task, table)) for name, table in splits.items()}
    sizes = {name: len(table) for name, table in splits.items()}
    golds = {name: task.gold(table) for name, table in splits.items()}
    found = shared_notes(keys) + size_notes(sizes)
    if task.labels and all(map(_has_classes, golds.values())):
        found += class_notes(task.labels, golds)
        found += contradictions(keys["train"], golds["train"])
    else:
        found += [
            f"All labels of the {SETS[split]} set are {gold[0]}: {UNMOVED[split]}."
            for split, gold in golds.items()
            if _are_constant(gold)
        ]
    return found


def _keys(task: Task, table: Any) -> Iterator[int]:
    """Yield a number for each example that is the same for the same texts."""
    for values in zip(*(values_of(table, name) for name in task.fields), strict=True):
        yield hash(tuple(_plain(value) for value in values))


def _plain(value: Any) -> Hashable:
    return (
        value.strip()
        if isinstance(value, str)
        else tuple(value)
        if isinstance(value, list)
        else value
    )


def _has_classes(golds: Sequence[Any]) -> bool:
    """Whether each gold value is a name, or a list of names."""
    return all(
        isinstance(one, str)
        for value in golds
        for one in (value if isinstance(value, list) else [value])
    )


def _are_constant(golds: Sequence[Any]) -> bool:
    return (
        len(golds) > 1
        and all(isinstance(value, int | float) for value in golds)
        and len({*golds}) == 1
    )


def shared_notes(keys: Mapping[str, Sequence[Hashable]]) -> list[str]:
    """Say how many examples of one split are in another too.

    Args:
        keys: Name of a split to what tells its examples apart.
    """
    found = []
    pairs = (("test", "train"), ("validation", "train"), ("test", "validation"))
    why = {
        ("test", "train"): "its score says less about new texts",
        ("validation", "train"): "it is a poor guide to the best epoch",
        ("test", "validation"): "the epoch was chosen on them, and the test score flatters",
    }
    known = {name: set(each) for name, each in keys.items()}
    for one, other in pairs:
        if one in keys and other in keys:
            count = sum(key in known[other] for key in keys[one])
            if count:
                found.append(
                    f"{count:,} of the {many(len(keys[one]), 'example')} of the {SETS[one]} set "
                    f"{'is' if count == 1 else 'are'} in the "
                    f"{SETS[other]} set too, with the same text: {why[one, other]}."
                )
    if len(keys["train"]) > 1 and len(known["train"]) == 1:
        found.append("All examples of the training set have the same text: nothing can be learnt.")
    return found


def size_notes(sizes: Mapping[str, int]) -> list[str]:
    """Say that there is more to choose by than to learn from."""
    if sizes.get("validation", 0) <= sizes["train"]:
        return []
    return [
        f"The validation set has {many(sizes['validation'], 'example')}, more than the training set "
        f"({sizes['train']:,}): most labels only choose the epoch. Swapped files?"
    ]


def class_notes(labels: Sequence[str], golds: Mapping[str, Sequence[Any]]) -> list[str]:
    """Say which classes cannot be learnt or tested, and which may be one class in two writings.

    Args:
        labels: Names of the classes.
        golds: Name of a split to the class of each example, or to its list of classes.
    """
    counts = {name: Counter(_flat(each)) for name, each in golds.items()}
    train, found = counts["train"], []
    if absent := [name for name in labels if not train[name]]:
        elsewhere = sum(
            counts[split][name] for split in counts if split != "train" for name in absent
        )
        found.append(
            f"No training example has the class{'es' * (len(absent) > 1)} {listed(absent, 5)}, so a model "
            f"cannot learn it; {many(elsewhere, 'label')} of the other sets "
            f"{'is' if elsewhere == 1 else 'are'} "
            "wrong by force."
        )
    if single := [name for name in labels if train[name] == 1]:
        found.append(
            f"One training example alone has the class{'es' * (len(single) > 1)} {listed(single, 5)}: that is "
            "too little to learn a class from."
        )
    found += writing_notes(labels)
    for split in ("validation", "test"):
        each = golds.get(split, ())
        if len(each) > 1 and isinstance(each[0], str) and len({*each}) == 1:
            found.append(
                f"All {len(each):,} examples of the {split} set have the class {each[0]}: a model that always "
                "says so is right every time."
            )
    return found


def writing_notes(labels: Sequence[str]) -> list[str]:
    """Say which classes may be one class in several writings.

    Args:
        labels: Names of the classes.
    """
    found, noted = [], set()
    for same, how in (
        (_in_small, "differ in case or white space only"),
        (
            _as_seen,
            "look the same but for case or white space, and are written with other characters",
        ),
        (as_number, "are one number in several writings"),
    ):
        written = defaultdict(list)
        for name in labels:
            written[same(name)].append(name)
        for key, alike in written.items():
            if key is None or len(alike) < 2 or frozenset(alike) in noted:
                continue
            noted.add(frozenset(alike))
            shown = map(ascii if same is _as_seen else repr, alike)
            found.append(f"The classes {', '.join(shown)} {how}; each is a class of its own.")
    return found


def _in_small(name: str) -> str:
    return " ".join(name.casefold().split())


def _as_seen(name: str) -> str:
    """Return a name in one writing, without characters of no width."""
    seen = unicodedata.normalize("NFKC", name)
    return _in_small("".join(c for c in seen if unicodedata.category(c) != "Cf"))


def _flat(golds: Sequence[Any]) -> Iterator[str]:
    for value in golds:
        yield from value if isinstance(value, list) else [value]


def contradictions(keys: Sequence[Hashable], golds: Sequence[Any]) -> list[str]:
    """Say how many training texts occur with different labels.

    Args:
        keys: What tells the training examples apart.
        golds: Their labels.
    """
    first: dict[Hashable, Any] = {}
    odd = {
        key for key, gold in zip(keys, golds, strict=True) if first.setdefault(key, gold) != gold
    }
    if not odd:
        return []
    return [
        f"{len(odd):,} text{'s occur' if len(odd) > 1 else ' occurs'} in the training set with different "
        "labels."
    ]


def answer_set_notes(has_none: Mapping[str, Sequence[bool]]) -> list[str]:
    """Say which splits of questions have no answer at all.

    Args:
        has_none: Name of a split to whether each question has no answer.
    """
    found = []
    for name, each in has_none.items():
        if len(each) and all(each):
            why = (
                "a model can only learn to give none"
                if name == "train"
                else "a model that never answers scores 100"
            )
            found.append(f"No question of the {SETS.get(name, name)} set has an answer: {why}.")
    return found


def length_notes(name: str, tokens: np.ndarray, unheld: np.ndarray, most: int) -> list[str]:
    """Say how many answers can never be predicted, and how many are in no window.

    Args:
        name: Name of the split.
        tokens: Tokens of each question's shortest answer; 0 where there is none, and once a question.
        unheld: Whether no window holds a question's first answer; once a question.
        most: ``--max-answer-tokens``.
    """
    tokens, found = tokens[tokens > 0], []
    if long := int((tokens > most).sum()):
        found.append(
            f"{long:,} of {len(tokens):,} answers of the {SETS.get(name, name)} set are longer than "
            f"--max-answer-tokens {most} (longest {int(tokens.max()):,}) and can never be predicted; raise it."
        )
    if lost := int(unheld.sum()):
        found.append(
            f"{lost:,} of {len(tokens):,} answers of the {SETS.get(name, name)} set are whole in no window; "
            "their windows are trained as having none; raise --max-length or --stride."
        )
    return found


def unknown_notes(encoded: Mapping[str, EncodedSplit], tokenizer: Any) -> list[str]:
    """Say what share of the texts the vocabulary does not know, where that is much.

    Args:
        encoded: The splits as tokens.
        tokenizer: Their tokenizer.
    """
    unknown = tokenizer.unk_token_id
    special = {*tokenizer.all_special_ids} - {unknown}
    named = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
    if unknown is None or unknown in {getattr(tokenizer, name, None) for name in named}:
        return []  # GPT-2 has one token for all of these, and bytes for every character
    shares = {}
    for name, part in encoded.items():
        rows = range(0, len(part.rows), max(1, len(part.rows) // LOOKED_AT))
        ids = np.concatenate([np.asarray(part.rows[row]["input_ids"]) for row in rows] or [[]])
        words = np.count_nonzero(~np.isin(ids, list(special)))
        share = np.count_nonzero(ids == unknown) / max(1, words)
        if share >= UNKNOWN:
            shares[name] = share
    if not shares:
        return []
    which = ", ".join(f"{share:.0%} of {SETS.get(name, name)}" for name, share in shares.items())
    return [
        f"The tokenizer does not know many of the tokens ({which}): the model sees them all as the same one. "
        "Take a checkpoint whose vocabulary is made for this language and script."
    ]
