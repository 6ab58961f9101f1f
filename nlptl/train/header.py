"""The first lines of a run: versions and device, checkpoint, data and classes, and how it trains."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.errors import many
from nlptl.models.layer_map import depth
from nlptl.models.loading import trained_config
from nlptl.models.tracing import width_of
from nlptl.tasks.base import Task
from nlptl.tasks.notes import reading_lines
from nlptl.train.machine import cores
from nlptl.train.setup import FinetuneArgs

#: Most classes that are named with their counts.
CLASSES = 8
#: Precisions of ``--mixed_precision`` in words.
PRECISIONS = {"no": "float32", "bf16": "bfloat16 autocast", "fp16": "float16 autocast"}
#: Flags that leave out rows.
LIMITS = ("max_train_examples", "max_eval_examples")
#: Mark of what nobody asked for.
DEFAULT = "*"


def machine_row(version: str, launch: Mapping[str, Any], seed: int) -> tuple[str, str]:
    """Return the row with the version, the device, the precision and the seed.

    Args:
        version: Version of nlptl.
        launch: ``mixed_precision`` and ``processes``, as in the record.
        seed: The seed.
    """
    asked = str(launch["mixed_precision"])
    parts = [device_words(), PRECISIONS.get(asked, asked), f"seed {seed}"]
    if launch["processes"] > 1:
        parts.insert(1, f"{launch['processes']} processes")
    return "nlptl", ", ".join([version, *parts])


def device_words() -> str:
    """Name the device that a run trains on, and on a CPU the cores that it uses."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return torch.cuda.get_device_name() + (f" ({count} of them)" if count > 1 else "")
    if torch.accelerator.is_available():
        return str(torch.accelerator.current_accelerator())
    used = max(1, min(cores(), torch.get_num_threads()))
    return f"cpu, {many(used, 'core')}"


def model_row(name: str, config: Any) -> tuple[str, str]:
    """Return the row of a checkpoint.

    Args:
        name: Its name.
        config: Its configuration.
    """
    about = f"{config.model_type}, {many(sum(depth(config)), 'block')}, width {width_of(config)}"
    demo = "; a demonstration model" if name.startswith("bundled/") else ""
    return "model", f"{plain(name)} ({about}{demo})"


def data_rows(
    task: Task,
    splits: Mapping[str, Any],
    origin: Mapping[str, Any],
    *,
    limits: Sequence[str] = (),
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Return the rows of the data: where they come from, how they were split, and the classes.

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``.
        origin: Record of where they came from (:meth:`nlptl.tasks.base.Task.prepare`).
        limits: Flags that left out rows (:func:`limits_of`).
        seed: Seed that drew the splits.
    """
    rows = [("data", f"{source_words(origin)}: {sizes_words(splits, limits)}")]
    if carved := list(origin.get("carved_from_train") or ()):
        rows.append(("", f"{' and '.join(carved)} drawn from the training set (seed {seed})"))
    read = [line.partition(": ") for line in reading_lines(origin)]
    rows += [(name, plain(text)) for name, _, text in read]
    known = task.fields if "texts" in origin else ()
    if columns := {
        r: c
        for r, c in (origin.get("columns") or {}).items()
        if isinstance(c, str) and r != c and r not in known
    }:
        rows.append(
            ("", ", ".join(f"{role}: column {plain(column)}" for role, column in columns.items()))
        )
    if counts := origin.get("train_counts"):
        rows.append(("tags" if task.split_into_words else "classes", classes_words(counts)))
    return rows


def limits_of(config: Any, names: Sequence[str] = LIMITS) -> list[str]:
    """List the flags of a configuration that leave out rows, with their values."""
    known = {name: getattr(config, name, None) for name in names}
    return [f"--{n.replace('_', '-')} {most}" for n, most in known.items() if most is not None]


def sizes_words(splits: Mapping[str, Any], limits: Sequence[str] = ()) -> str:
    """Count the rows of each split.

    Args:
        splits: ``train``, ``validation`` and ``test``.
        limits: Flags that left out rows (:func:`limits_of`).

    Example:
        >>> given = ["--max-train-examples 300"]
        >>> sizes_words({"train": range(270), "validation": range(30), "test": range(2000)}, given)
        '270 train, 30 validation, 2,000 test (--max-train-examples 300)'
        >>> sizes_words({"train": range(700), "validation": range(100), "test": range(200)})
        '1,000 rows -> 700 train, 100 validation, 200 test'
    """
    sizes = {name: len(table) for name, table in splits.items()}
    each = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    if limits:  # what they leave out is not in the splits
        return f"{each} ({', '.join(limits)})"
    return f"{sum(sizes.values()):,} rows -> {each}"


def source_words(origin: Mapping[str, Any]) -> str:
    """Name a run's data: the data set, or the training file."""
    files = origin.get("files") or {}
    if origin.get("dataset"):
        return plain(origin["dataset"])
    return plain(Path(files["train"]).name) if "train" in files else "the data"


def classes_words(counts: Mapping[str, int]) -> str:
    """Write the classes with their numbers of training examples, the most frequent first.

    Example:
        >>> classes_words({"no": 3, "yes": 1200})
        '2: yes 1,200, no 3'
    """
    ordered = Counter(counts).most_common()
    shown = [f"{plain(name)} {count:,}" for name, count in ordered[:CLASSES]]
    more = [f"… and {len(ordered) - CLASSES} more"] * (len(ordered) > CLASSES)
    return f"{len(ordered)}: {', '.join([*shown, *more])}"


def training_row(args: FinetuneArgs, defaults: Collection[str] = ()) -> tuple[str, str]:
    """Return the row that says how a run trains; what nobody asked for has a mark.

    Args:
        args: Arguments of the run.
        defaults: Names of the flags that have their default values.
    """
    rate = "rate found by a range test" if args.find_rate else f"rate {args.learning_rate:g}"
    parts = {
        "mode": f"mode {args.mode.name}",
        "epochs": f"{args.epochs:g} epoch{'s' if args.epochs != 1 else ''}",
        "learning_rate": rate,
        "batch_size": f"batch {args.batch_size}",
    }
    if args.gradient_accumulation_steps > 1:
        parts["batch_size"] += f" x {args.gradient_accumulation_steps}"
    if args.mode.definition.untrained:
        parts = {"mode": parts["mode"] + ", which trains nothing"}
    elif args.head == "fit" and not args.mode.trains_blocks:
        parts = {"mode": parts["mode"] + ", a convex fit without epochs"}
    return "train", marked(parts, defaults)


def copies_rows(args: FinetuneArgs) -> list[tuple[str, str]]:
    """Return the row on changed copies of the training texts; none where there are none.

    Args:
        args: Arguments of the run.
    """
    if args.augment is None:
        return []
    words = (
        f"{many(args.augment_copies, 'copy')} of each training text, changed by {args.augment} "
        f"(alpha {args.augment_alpha:g})"
    )
    return [("augment", words if args.augment_alpha else "no copies (alpha 0)")]


def marked(parts: Mapping[str, str], defaults: Collection[str]) -> str:
    """Join texts, and mark those that nobody asked for.

    Args:
        parts: Name of a flag to the text about it.
        defaults: Names of the flags that have their default values.

    Example:
        >>> marked({"mode": "mode full", "seed": "seed 0"}, ["seed"])
        'mode full, seed 0*  (* default)'
    """
    texts = [text + DEFAULT * (name in defaults) for name, text in parts.items()]
    legend = f"  ({DEFAULT} default)" if any(text.endswith(DEFAULT) for text in texts) else ""
    return ", ".join(texts) + legend


def defaults_used(config: Any) -> list[str]:
    """List the names of the flags that have their default values."""
    return [
        field.name
        for field in fields(config)
        if field.default is not MISSING and getattr(config, field.name) == field.default
    ]


def way_rows(args: FinetuneArgs, config: Any) -> list[tuple[str, str]]:
    """Return the rows of a study's checkpoint, and of how its arms train.

    Args:
        args: Arguments of an arm that trains as the flags say.
        config: Flags of the study.
    """
    return [
        model_row(args.model, trained_config(args.model, args.pooling)),
        training_row(args, defaults_used(config)),
        *copies_rows(args),
    ]


def runs_row(arms: Sequence[str], seeds: int) -> tuple[str, str]:
    """Return the row that counts the runs of a study.

    Args:
        arms: Names of its arms.
        seeds: Runs of each.

    Example:
        >>> runs_row(["full", "lora"], 3)
        ('runs', '2 arms x 3 seeds = 6: full, lora; those that are kept from before are not made again')
    """
    names = ("; " if any("," in arm for arm in arms) else ", ").join(map(plain, arms))
    kept = "those that are kept from before are not made again"
    counts = f"{many(len(arms), 'arm')} x {many(seeds, 'seed')} = {len(arms) * seeds}"
    return "runs", f"{counts}: {names}; {kept}"


def run_header(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    *,
    version: str,
    config: Any,
    origin: Mapping[str, Any],
    launch: Mapping[str, Any],
    defaults: Collection[str] = (),
    limits: Sequence[str] = (),
    split_seed: int | None = None,
) -> Sequence[tuple[str, str]]:
    """Return the rows of a run's first lines (:class:`nlptl.train.terminal.Block`).

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``.
        args: Arguments of the run.
        version: Version of nlptl.
        config: Configuration of the checkpoint.
        origin: Record of where the data came from.
        launch: ``mixed_precision`` and ``processes``.
        defaults: Names of the flags that have their default values.
        limits: Flags that left out rows (:func:`limits_of`).
        split_seed: Seed that drew the splits; None for the run's own.
    """
    seed = args.seed if split_seed is None else split_seed
    return [
        machine_row(version, launch, args.seed),
        model_row(args.model, config),
        *data_rows(task, splits, origin, limits=limits, seed=seed),
        training_row(args, defaults),
        *copies_rows(args),
    ]
