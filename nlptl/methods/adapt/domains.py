"""Domains: read by file or by a column, with one form of label, cut to what each arm of a study may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nlptl.data.columns import find_column
from nlptl.data.layouts import joined
from nlptl.data.progress import quiet_datasets
from nlptl.data.sampling import labels_of, subset
from nlptl.data.sources import kind_of, load_splits, local_path, read_table
from nlptl.errors import ConfigError, DataError, Mistakes, Problems, UserError, listed, many
from nlptl.methods.adapt.options import ALL, BOTH, FEW, LABELLED, SOURCE, TARGET
from nlptl.tasks.base import Task, get_task

#: Data sets of which source and target are taken without flags, and which these are.
BUNDLED, USUAL = ("bundled/remarks", "bundled/reviews"), (("films", "books"), "kitchen")
#: Texts without labels of their domains.
UNLABELLED = "bundled/reviews/unlabelled.jsonl"
#: Column that numbers the domains of a table: the sources from 0 on, the target last.
DOMAIN = "domain"
#: Column that says whether a text of the target is of its training set, or one of the further ones.
OWN = "own"


@dataclass(frozen=True)
class Domain:
    """A domain of a study.

    Attributes:
        name: Name of the domain, without its folder.
        task: Task of its examples.
        splits: ``train``, ``validation`` and ``test``; labels by name.
        record: Record of where they came from.
    """

    name: str
    task: Task
    splits: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Sees:
    """What an arm sees of a pair of domains: a view of the study's splits.

    Attributes:
        bound: A bound, or ``easyadapt``; every other method sees what ``source-only`` does.
        labels: Number of the target's labels, where a few may be used.
        most: Most labels to train on and to choose by, together, other ones for each seed; None for all.
    """

    bound: str
    labels: int = 0
    most: int | None = None

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return an arm's splits.

        They are ``train``, ``validation``, ``test``, ``source_test``, the texts ``target``, and for easyadapt
        ``labelled``.
        """
        seen = {name: splits[name] for name in ("test", "source_test", "target")}
        beginning = {TARGET: ("target_",), ALL: ("", "target_")}.get(self.bound, ("",))
        for split in ("train", "validation"):
            own = [splits[f"{side}{split}"] for side in beginning]
            each = [limited(task, table, split, self.most, seed) for table in own]
            seen[split] = joined(each, "adapt")
        if self.bound in LABELLED:
            few = splits["target_train"]
            few = subset(few, strata(task, few), self.labels, seed)
            if self.bound == FEW:
                seen["train"] = few
            elif self.bound == BOTH:
                seen["train"] = joined([seen["train"], few], "adapt")
            else:
                seen["labelled"] = few
        return seen


def limited(task: Task, table: Any, split: str, most: int | None, seed: int) -> Any:
    """Draw a split's share of the labels that may be looked at, by class and domain; None takes all."""
    if most is None:
        return table
    return subset(table, strata(task, table), labels_of(split, most), seed)


def strata(task: Task, table: Any) -> list[str]:
    """List what subsets have in equal shares: class and domain."""
    classes = task.classes(table) or [""] * len(table)
    return [f"{one} {name}" for name, one in zip(classes, table[DOMAIN][:], strict=True)]


def named(config: Any) -> tuple[tuple[str, ...], str | None]:
    """Return source and target as the flags name them, or the usual ones.

    Raises:
        UserError: If one is missing, or two are the same.
    """
    source, target = USUAL
    if not config.source and config.target is None and config.dataset in BUNDLED:
        return ((*source, target), None) if config.all_pairs else (source, target)
    problems = Problems()
    for flag in ("--source",) if config.all_pairs else ("--source", "--target"):
        if not getattr(config, flag.removeprefix("--")):
            problems.add(
                f"{flag} is missing; expected a file, a folder, a hub name, or a domain's name."
            )
    problems.raise_if_any()
    more = () if config.target is None else (config.target,)
    if config.all_pairs:
        every = once((*config.source, *more))
        if len(every) < 2:
            raise ConfigError(f"--all-pairs: expected two domains or more, found {listed(every)}.")
        return every, None
    own = once(config.source)
    if {place(name) for name in more} & {place(name) for name in own}:
        raise ConfigError(f"--target {config.target} is one of --source; expected another domain.")
    return own, config.target


def once(names: Sequence[str]) -> tuple[str, ...]:
    """Leave out names of files and folders that are there already under another spelling."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(place(name), name)
    return tuple(found.values())


def place(name: str) -> str:
    """Return one name for all spellings of a file or folder; another name as it is."""
    path = local_path(name)
    return str(path.resolve()) if path.exists() else name


def pairs(config: Any) -> list[tuple[tuple[str, ...], str]]:
    """List the pairs of sources and target, under the names of the flags."""
    source, target = named(config)
    if target is not None:
        return [(source, target)]
    return [((one,), other) for one, other in permutations(source, 2)]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Map the names of domains to what tables call them: a file by its stem, if that names no other.

    Example:
        >>> short_names(["amazon/books.parquet", "films"])
        {'amazon/books.parquet': 'books', 'films': 'films'}
    """
    stems = {
        name: Path(name).stem if kind_of(Path(name)) or local_path(name).exists() else name
        for name in names
    }
    found = list(stems.values())
    return {name: stem if found.count(stem) == 1 else name for name, stem in stems.items()}


def read_domains(config: Any) -> dict[str, Domain]:
    """Read all domains of a study and check that their labels are the same.

    Args:
        config: Flags of the study, of the task, and :class:`nlptl.methods.adapt.options.AdaptOptions`.

    Returns:
        Name in the flags to domain.

    Raises:
        UserError: With everything that is wrong with the data.
    """
    source, target = named(config)
    names = source if target is None else (*source, target)
    problems, short = Problems(), short_names(names)
    found = {}
    for name in names:
        with problems.collect(), quiet_datasets():
            found[name] = read_domain(config, name, short[name])
    problems.raise_if_any()
    check_labels_asked(config, [found[name] for name in (names if target is None else (target,))])
    labels = {name: list(domain.task.labels) for name, domain in found.items()}
    first = labels[names[0]]
    if odd := [name for name, own in labels.items() if own != first]:
        raise DataError(
            f"The labels of {short[odd[0]]} ({listed(labels[odd[0]])}) are not those of {short[names[0]]} "
            f"({listed(first)}). Domains have the same labels; another task is not another domain."
        )
    return found


def check_labels_asked(config: Any, targets: Sequence[Domain]) -> None:
    """Make sure that each target has as many labels as ``--target-labels`` asks for.

    Raises:
        UserError: With every target that has fewer.
    """
    problems = Problems()
    for one in targets:
        if (there := len(one.splits["train"])) < config.target_labels:
            problems.add(
                f"--target-labels {config.target_labels}: the training set of {one.name} has "
                f"{many(there, 'label')}; "
                "expected at most that."
            )
    problems.raise_if_any()


def read_domain(config: Any, name: str, short: str) -> Domain:
    """Read one domain's splits as its task reads every data set.

    Raises:
        UserError: With everything that is wrong with them.
    """
    path = local_path(name)
    apart = path.exists() or kind_of(path) is not None or config.dataset is None
    changes: dict[str, Any] = (
        {"dataset": name} if apart else {"where": ((config.domain_column, name),)}
    )
    if not apart and "/" in name and name.count("/") == 1 and not _is_domain(config, name):
        changes = {"dataset": name}
    alone = {
        "train_file": None,
        "validation_file": None,
        "test_file": None,
        "max_train_examples": None,
    }
    seed = config.seed if config.split_seed is None else config.split_seed
    if "dataset" in changes:
        changes["flag"] = "--target" if name == config.target else "--source"
    request: Any = SimpleNamespace(**{**vars(config), **alone, "seed": seed, **changes})
    try:
        task, splits, record = get_task(config.task).prepare(request)
    except UserError as error:
        whose = (
            f"{short}, looked for in --dataset {config.dataset}" if "where" in changes else short
        )
        if name == config.target and "dataset" in changes and not has_labels(config, name):
            raise DataError(
                f"{whose}: --target {name} has no column of labels. The target needs labels for its test set, "
                "which are read when a finished model is scored, and for the bound target-only. Label some of "
                "its texts and give these to --target; give texts without labels to --target-text."
            ) from error
        if isinstance(error, Mistakes):
            raise Mistakes([f"{whose}: {message}" for message in error.each]) from error
        raise type(error)(f"{whose}: {error}") from error
    made = {split: by_name(task, table) for split, table in splits.items()}
    return Domain(short, task, made, {**record, "n": {k: len(t) for k, t in made.items()}})


def has_labels(config: Any, name: str) -> bool:
    """Whether a domain's training set has a column of labels, by ``--label-column`` or a usual name.

    Args:
        config: Flags of the study.
        name: File, folder or hub name; one that cannot be read may have some.
    """
    role = get_task(config.task).label
    try:
        train = load_splits(name, {})["train"]
    except UserError:
        return True
    try:
        for asked in config.label_column or (None,):
            find_column({"train": train}, role, asked)
    except DataError:
        return False
    return True


def _is_domain(config: Any, name: str) -> bool:
    """Whether a name with a slash is a value of the column of domains, and not a hub name."""
    train = load_splits(config.dataset, {})["train"]
    return config.domain_column in train.column_names and name in train[config.domain_column][:]


def by_name(task: Task, table: Any) -> Any:
    """Return a table with the fields, and with labels as :meth:`nlptl.tasks.base.Task.gold` names them."""
    gold = task.gold(table)
    return table.select_columns(list(task.fields)).add_column(task.label, gold)


def pair_splits(
    sources: Sequence[Domain], target: Domain, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """Put the domains of a pair side by side, as :class:`Sees` cuts them.

    Args:
        sources: The source domains.
        target: The target.
        texts: More texts of the target.

    Returns:
        ``train``, ``validation`` and ``source_test`` of the sources; ``target_train`` and
        ``target_validation`` for the bounds; ``test``, the target's; and ``target``, the target's training
        texts without labels.
    """
    from datasets import Dataset

    last, task = len(sources), target.task
    made = {
        name: joined(
            [numbered(one.splits[split], number) for number, one in enumerate(sources)], "adapt"
        )
        for name, split in (
            *(("train", "train"), ("validation", "validation")),
            ("source_test", "test"),
        )
    }
    made |= {
        f"target_{split}": numbered(target.splits[split], last) for split in ("train", "validation")
    }
    plain = made["target_train"].select_columns(list(task.fields))
    more = (
        [Dataset.from_dict({task.fields[0]: list(texts)}, features=plain.features)] if texts else []
    )
    own = [True] * len(plain) + [False] * len(texts)
    made["target"] = joined([plain, *more], "adapt").add_column(OWN, own)
    return {**made, "test": numbered(target.splits["test"], last)}


def numbered(table: Any, number: int) -> Any:
    """Return a table with the number of its domain in each row."""
    return table.add_column(DOMAIN, [number] * len(table))


def target_texts(config: Any, target: str, task: Task) -> list[str]:
    """Read more texts of the target: those of ``--target-text``, or of the bundled sets their own.

    Args:
        config: Configuration of the study.
        target: Name of the target in the flags.
        task: Task of the target.

    Raises:
        UserError: If they cannot be read, or the task has more than one field.
    """
    files = config.target_text
    if not files and config.dataset in BUNDLED and not local_path(target).exists():
        files = (UNLABELLED,)
    if not files:
        return []
    if len(task.fields) > 1 or task.split_into_words:
        raise ConfigError(
            f"--target-text: the task {task.name} reads {listed(task.fields)}; more texts can be given for "
            "single "
            "texts only."
        )
    found: list[str] = []
    for name in files:
        table = documents_of(name)
        rows = range(len(table))
        if config.domain_column in table.column_names:
            rows = [row for row, own in enumerate(table[config.domain_column][:]) if own == target]
        found += [text for text in table.select(rows)["text"][:] if text and text.strip()]
    if not found:
        raise DataError(f"--target-text {listed(files)}: no row is a text of {target}.")
    return found


def documents_of(name: str) -> Any:
    """Read a table of texts, a row each or a file each.

    Args:
        name: File, folder or hub name.

    Raises:
        UserError: If it cannot be read.
    """
    path = local_path(name)
    if path.is_file() and kind_of(path):
        table = read_table(path, "--target-text")
        if "text" in table.column_names:
            return table
    from nlptl.pretrain.corpus import read_documents

    return read_documents(name, "text", "--target-text")


def seen_by(arm: str, config: Any) -> Sees:
    """Return the view of an arm; methods without labels of the target share the one of ``source-only``."""
    known = arm if arm in (TARGET, ALL, *LABELLED) else SOURCE
    labels = config.target_labels if known in LABELLED else 0
    return Sees(known, labels, config.max_train_examples)
