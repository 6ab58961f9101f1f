"""The study: draws of labels, each method on the same ones, and the methods without labels."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nlptl.data.progress import quiet_datasets
from nlptl.errors import ConfigError, Problems, UserError, listed, many, suggest
from nlptl.methods.few_shot.draws import Shots, check_enough
from nlptl.methods.few_shot.method import FewShot
from nlptl.methods.few_shot.options import CONTRASTIVE, ENTAILMENT, FITTED, PROMPT, USUAL, ZERO
from nlptl.methods.few_shot.terms import pairs_drawn, pairs_of
from nlptl.methods.few_shot.zero import check_words, zero_method, zero_methods
from nlptl.models.loading import reading, resolve, trained_config
from nlptl.models.sentence_encoder import declared
from nlptl.modes.base import parse_mode
from nlptl.study.arms import Arm, ArmSpec
from nlptl.study.keeping import save_model
from nlptl.study.study import Study
from nlptl.study.unread import FORGETTING, check_read
from nlptl.tasks.base import Task, get_task
from nlptl.train.header import (
    data_rows,
    defaults_used,
    limits_of,
    model_row,
    runs_row,
    training_row,
)
from nlptl.train.setup import FinetuneArgs
from nlptl.train.terminal import Block, say

#: Function from a mode, a number of training examples and a task to arguments with every default filled in.
Args = Callable[[str, int, Task], FinetuneArgs]
#: The mode of methods that fit the head alone.
ALONE = "head-only"


#: Flags that some methods read alone.
READERS = {
    **{"label_words": ZERO, "templates": ZERO, "zero_model": (ENTAILMENT, PROMPT)},
    **dict.fromkeys(("pairs", "max_pairs", "mode"), (CONTRASTIVE,)),
    FORGETTING: (),
}


def shots_of(config: Any) -> list[int]:
    """List the numbers of labels a class, rising; those that are no numbers are left out."""
    return sorted({int(word) for word in config.shots if word.isdecimal()})


def labelled_methods(config: Any) -> list[str]:
    """List the methods with labels in the order of the table."""
    asked = [name for name in dict.fromkeys(config.methods) if name not in ZERO]
    return asked if config.methods else list(USUAL)


def modes_of(config: Any) -> list[str]:
    """List the modes that are needed: those among the methods, head-only, and what contrastive trains."""
    own = [name for name in labelled_methods(config) if name not in (*FITTED, CONTRASTIVE)]
    found = [name for name in own if _is_mode(name)]
    return list(dict.fromkeys([*found, ALONE, config.mode]))


def _is_mode(name: str) -> bool:
    try:
        parse_mode(name)
    except UserError:
        return False
    return True


def check_methods(config: Any) -> None:
    """Make sure that every method exists and that the flags go together.

    Raises:
        UserError: With all that do not.
    """
    problems = Problems()
    for word in config.shots:
        if not word.isdecimal():
            problems.add(f"--shots {word}: expected whole numbers of 0 or more.")
    if not config.shots:
        problems.add("--shots is empty; expected numbers of labels a class, such as 0 1 8 64.")
    for name in config.methods:
        if name not in (*ZERO, *USUAL) and not _is_mode(name):
            known = (*ZERO, *USUAL)
            problems.add(
                f"--methods {name}: there is no such method.{suggest(name, known)} There are: "
                f"{listed(known)}, and every mode (--mode list)."
            )
        if name in ZERO and "0" not in config.shots:
            problems.add(f"--methods {name} takes no labels: add 0 to --shots, or leave it out.")
    if config.max_train_examples is not None:
        problems.add(
            "--max-train-examples: here --shots says how many labels a method sees. Leave it out."
        )
    asked = labelled_methods(config) if config.methods else []
    with_labels = labelled_methods(config) if any(shots_of(config)) else []
    without = [name for name in ZERO if "0" in config.shots and name in (config.methods or ZERO)]
    if config.save is not None and config.save not in with_labels:
        problems.add(
            f"--save {config.save}: expected a method with labels ({listed(with_labels) or 'there is none'})."
        )
    if asked and "0" in config.shots and not any(shots_of(config)):
        problems.add(
            f"--methods {' '.join(asked)}: they learn from labels; add a number above 0 to --shots, or leave "
            "them out."
        )
    problems.run(check_read, config, READERS, [*with_labels, *without])
    own = [name for name in with_labels if name in (*FITTED, CONTRASTIVE)]
    if config.augment and own:
        problems.add(
            f"--augment {config.augment}: {listed(own)} read the texts as they are. Leave the flag out, or "
            "give --methods modes alone."
        )
    if CONTRASTIVE in with_labels:
        problems.run(check_contrastive, config)
    problems.run(check_words, config)
    problems.raise_if_any()


def check_contrastive(config: Any) -> None:
    """Make sure that contrastive trains some block.

    Raises:
        ConfigError: If not.
    """
    if not _is_mode(config.mode):
        return
    mode = parse_mode(config.mode)
    if mode.staged or not mode.trains_blocks:
        raise ConfigError(
            f"--mode {config.mode}: contrastive moves the states of the blocks, and under this mode none "
            "trains, or they train in turns. Take full, lora or freeze-lower-N."
        )


def read_data(config: Any) -> tuple[Task, Mapping[str, Any], Mapping[str, Any], list[str]]:
    """Read the data, and make sure that each class has labels enough and each method what it needs.

    Args:
        config: Flags of the study.

    Returns:
        The task, its splits, their record, and the methods without labels.

    Raises:
        UserError: With everything that is wrong.
    """
    seed = config.seed if config.split_seed is None else config.split_seed
    task, splits, record = get_task(config.task).prepare(
        replace(config, seed=seed, max_train_examples=None)
    )
    if task.head_fit != "classes":
        raise ConfigError(
            f"few-shot counts labels a class; the examples of the task {task.name} have no class each. Take "
            "--task text-classification."
        )
    problems = Problems()
    names = ["train", *["validation"] * (config.validation == "same")]
    problems.run(check_enough, task, splits, max(shots_of(config), default=0), names)
    zero = problems.run(zero_methods, config, task)
    problems.raise_if_any()
    names, left_out = zero or ([], [])
    return task, splits, {**record, "notes": [*record.get("notes", ()), *left_out]}, names


def few_shot(config: Any, data: Any, args: Args) -> dict[str, Any]:
    """Run every method on every draw, and say which one leads at which number of labels.

    Args:
        config: Flags of the study.
        data: From :func:`read_data`.
        args: Arguments by mode, number of training examples and task.

    Returns:
        What ``few_shot.json`` holds.
    """
    from nlptl.methods.few_shot.verdict import study_record

    task, splits, origin, zero = data
    seeds = range(config.seed, config.seed + config.seeds)
    levels = [number for number in shots_of(config) if number]
    names = labelled_methods(config)
    arms = {
        arm_name(name, number): arm_spec(config, task, args, name, number)
        for number in levels
        for name in names
    }
    most = {name: arms[arm_name(name, levels[-1])].args for name in names} if levels else {}
    model = model_row(config.model, trained_config(config.model, config.pooling))
    rows = [*rows_of(config, task, splits, origin, levels, zero), *training_rows(config, most)]
    say(Block([model, *rows, *[runs_row(list(arms), config.seeds)] * bool(arms)]))
    for note in origin["notes"]:
        say(f"note: {note}")
    with quiet_datasets():
        without = zero_arms(config, task, splits, args, zero, seeds)
        found = Study(task, splits, arms, seeds).run(parallel=config.parallel) if arms else {}
    if config.save is not None:
        study, name = Study(task, splits, arms, seeds), arm_name(config.save, levels[-1])
        save_model(study, name, config.output_dir / "run", method=config.save)
    by_level = {
        number: {name: found[arm_name(name, number)] for name in names} for number in levels
    }
    return study_record(config, task, splits, origin, without, by_level)


def arm_name(name: str, shots: int) -> str:
    """Name an arm as the terminal shows it."""
    return f"{name}, {shots} a class"


def rows_of(
    config: Any,
    task: Task,
    splits: Mapping[str, Any],
    origin: Mapping[str, Any],
    levels: list[int],
    zero: list[str],
) -> list[tuple[str, str]]:
    """Return the first lines of a study: data, draws, pairs, methods without labels."""
    seed = config.seed if config.split_seed is None else config.split_seed
    names = labelled_methods(config) if levels else []
    rows = data_rows(task, splits, origin, limits=limits_of(config), seed=seed)
    labels = ", ".join(str(number * len(task.labels)) for number in levels)
    if levels:
        more = " and as many to choose the epoch" if config.validation == "same" else ""
        rows.append(
            ("labels", f"{labels}{more}, {many(config.seeds, 'draw')}; every method sees the same")
        )
    if CONTRASTIVE in names:
        each = []
        for number in levels:
            counts = [number] * len(task.labels)
            same, different = pairs_of(counts)
            drawn = pairs_drawn(counts, config.pairs, config.max_pairs)
            each.append(f"{number} a class: {drawn:,} of {same:,} + {different:,}")
        rows.append(("pairs", "; ".join(each)))
    if zero:
        rows.append(("no labels", ", ".join(zero)))
    return rows


def training_rows(config: Any, args: Mapping[str, FinetuneArgs]) -> list[tuple[str, str]]:
    """Say how the methods with labels train, those that train alike in one row.

    Args:
        config: Flags of the study.
        args: Name of a method to its arguments, with the most labels.
    """
    alike: dict[str, list[str]] = {}
    for name, own in args.items():
        # --mode is that of contrastive alone
        defaults = set(defaults_used(config)) - ({"mode"} if name != CONTRASTIVE else set())
        alike.setdefault(training_row(own, defaults)[1], []).append(name)
    most = max(shots_of(config), default=0)
    return [
        ("" if number else "train", f"{', '.join(names)}, {most} a class: {how}")
        for number, (how, names) in enumerate(alike.items())
    ]


def arm_spec(config: Any, task: Task, args: Args, name: str, shots: int) -> ArmSpec:
    """Specify an arm: what it sees, how it trains, and for how long."""
    view = Shots(shots, config.validation == "same", len(task.labels))
    if name not in (*FITTED, CONTRASTIVE):
        own = args(name, view.examples, task)
        return ArmSpec(kept(own), view=view)
    own = args(ALONE if name in FITTED else config.mode, view.examples, task)
    own = replace(own, pooling=pooling_of(config), head="fit")
    return ArmSpec(kept(own), FewShot(name, config.pairs, config.max_pairs), view=view)


def kept(args: FinetuneArgs) -> FinetuneArgs:
    """Keep the states of the test texts from draw to draw where no block trains."""
    frozen = not args.mode.staged and not args.mode.trains_blocks and args.mode.has_frozen_stem
    return replace(args, cache="memory") if args.cache == "auto" and frozen else args


def pooling_of(config: Any) -> Any:
    """Return what methods read that compare states: what is asked for or declared, else the mean."""
    if config.pooling != "auto":
        return config.pooling
    return reading(config.model).pooling if declared(resolve(config.model)) else "mean"


def zero_arms(
    config: Any,
    task: Task,
    splits: Mapping[str, Any],
    args: Args,
    names: list[str],
    seeds: range,
) -> dict[str, Arm]:
    """Run the methods without labels once; their answers are the same beside every draw."""
    if not names:
        return {}
    base = args(ALONE, len(task.labels), task)
    arms = {name: ArmSpec(base, zero_method(config, name)) for name in names}
    found = Study(task, splits, arms, seeds[:1]).run()
    return {
        name: replace(
            arm, outcomes=tuple(replace(arm.outcomes[0], seed=number) for number in seeds)
        )
        for name, arm in found.items()
    }


def write_few_shot(record: Mapping[str, Any], directory: Any) -> str:
    """Write ``few_shot.json``, ``.md``, ``.html`` and the picture.

    Args:
        record: From :func:`few_shot`.
        directory: Made if it is not there.

    Returns:
        The tables and the sentence, for the terminal.
    """
    from nlptl.methods.few_shot.page import page
    from nlptl.methods.few_shot.render import figure, markdown, text
    from nlptl.study.render.study_page import write_study

    alt = "score of each method by labels a class"
    write_study(record, "few_shot", (markdown(record), figure(record), alt), page, directory)
    return text(record)
