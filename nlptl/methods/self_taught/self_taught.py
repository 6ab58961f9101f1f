"""The study: each first stage on texts of the same kind, of another, and without order, beside none."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nlptl.data.progress import quiet_datasets
from nlptl.errors import ConfigError, Problems, listed, suggest
from nlptl.methods.self_taught.method import SelfTaught
from nlptl.methods.self_taught.options import (
    CONTRASTIVE,
    MASKED,
    NONE,
    OTHER,
    SAME,
    SHUFFLED,
    STAGES,
    arm,
)
from nlptl.methods.self_taught.texts import Sees, kept_apart, named, read_unlabelled
from nlptl.methods.self_taught.verdict import study_record
from nlptl.study.arms import ArmSpec
from nlptl.study.keeping import save_model
from nlptl.study.study import Study
from nlptl.study.unread import FORGETTING, check_read
from nlptl.tasks import get_task
from nlptl.tasks.base import Task
from nlptl.train.header import data_rows, limits_of, runs_row, way_rows
from nlptl.train.setup import FinetuneArgs
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import Block, say

#: Function from a number of training examples and a task to arguments with every default filled in.
Args = Callable[[int, Task], FinetuneArgs]


def arm_names(config: Any, kinds: Mapping[str, Any]) -> list[str]:
    """List the arms in the order of the table.

    Args:
        config: Flags of the study.
        kinds: Texts that there are, by kind.
    """
    each = [kind for kind in (SAME, OTHER) if kinds.get(kind)] + [SHUFFLED]
    stages = [name for name in dict.fromkeys(config.first_stage) if name in STAGES] or STAGES
    return [NONE, *(arm(stage, kind) for stage in stages for kind in each)]


def check_stages(config: Any) -> None:
    """Make sure that every first stage exists and can be had of this checkpoint.

    Raises:
        UserError: With all that cannot.
    """
    from nlptl.pretrain.further import check_masked

    problems = Problems()
    for name in config.first_stage:
        if name not in STAGES:
            near = suggest(name, STAGES)
            problems.add(
                f"--first-stage {name}: there is no such stage.{near} There are: {listed(STAGES)}."
            )
    if not config.first_stage:
        problems.add(f"--first-stage: expected one or both of {listed(STAGES)}, found none.")
    if MASKED in config.first_stage:
        instead = f"Take --first-stage {CONTRASTIVE}"
        problems.run(check_masked, config.model, f"--first-stage {MASKED}", instead)
    kind = problems.run(get_task, config.task)
    if kind and CONTRASTIVE in config.first_stage and not kind.pooled:
        problems.add(
            f"--first-stage {CONTRASTIVE}: the head of the task {kind.name} reads the state of every token, "
            f"and this stage teaches the state of a whole text. Take --first-stage {MASKED}."
        )
    kinds: Mapping[str, Any] = {SAME: True, OTHER: True}
    with suppress(ConfigError):  # read_data says it
        kinds = named(config)
    if config.save is not None and config.save not in (known := arm_names(config, kinds)):
        problems.add(f"--save {config.save}: expected one of the arms ({listed(known)}).")
    problems.run(
        check_read, config, {"temperature": (CONTRASTIVE,), FORGETTING: ()}, config.first_stage
    )
    problems.raise_if_any()


def read_data(config: Any) -> tuple[Task, dict[str, Any], dict[str, Any]]:
    """Read the labelled examples and the texts without labels.

    Returns:
        The task; ``train``, ``validation`` and ``test``, with ``same`` and maybe ``other``; and the record of
        both, ``data`` and ``texts``.

    Raises:
        UserError: With everything that is wrong with them.
    """
    problems = Problems()
    # Each seed draws its own labels (Sees), so none are left out here.
    alone = {"max_train_examples": None}
    seed = config.seed if config.split_seed is None else config.split_seed
    request: Any = SimpleNamespace(**{**vars(config), **alone, "seed": seed})
    with quiet_datasets():
        found = problems.run(get_task(config.task).prepare, request)
        unlabelled = problems.run(read_unlabelled, config)
        problems.raise_if_any()
        assert found and unlabelled  # raised above otherwise
        task, splits, origin = found
        texts, about = kept_apart(config, unlabelled, task, splits)
    return task, {**splits, **texts}, {"data": origin, "texts": about}


def self_taught(
    config: Any,
    data: tuple[Task, Mapping[str, Any], Mapping[str, Any]],
    args: Args,
) -> dict[str, Any]:
    """Run every arm, and compare each with ``none``.

    Args:
        config: Flags of the study.
        data: Task, splits and record, from :func:`read_data`.
        args: Arguments by number of training examples.

    Returns:
        What ``self_taught.json`` holds.
    """
    task, splits, origin = data
    seeds = range(config.seed, config.seed + config.seeds)
    study = Study(task, splits, {}, seeds)
    for name in arm_names(config, splits):
        study.arms[name] = arm_spec(config, task, splits, args, name)
    labelled = {name: splits[name] for name in ("train", "validation", "test")}
    most, seed = config.max_train_examples, config.seed
    draws = [("", f"each seed draws {most} of its labels")] if most is not None else []
    model, *training = way_rows(study.arms[NONE].args, config)
    limits = limits_of(config, ["max_eval_examples"])
    rows = [model, *data_rows(task, labelled, origin["data"], limits=limits, seed=seed), *draws]
    rows += [*text_rows(origin["texts"]), *training, runs_row(list(study.arms), config.seeds)]
    say(Block(rows))
    with quiet_datasets():
        arms = study.run(parallel=config.parallel)
    if config.save is not None:
        save_model(study, config.save, config.output_dir / "run")
    free_states()
    return study_record(config, study, arms, origin)


def arm_spec(config: Any, task: Task, splits: Mapping[str, Any], args: Args, name: str) -> ArmSpec:
    """Specify an arm: its first stage, what it reads, and how the labels are trained on."""
    stage, _, texts = name.partition(" ")
    view = Sees(texts if config.first_steps else "", config.max_train_examples)
    method = SelfTaught(
        stage,
        config.first_steps,
        config.first_batch_size,
        config.first_rate,
        config.temperature,
    )
    examples = len(view(task, splits, config.seed)["train"])
    return ArmSpec(args(examples, task), method, view=view)


def text_rows(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the header about the texts without labels."""
    rows = []
    for kind, one in about.items():
        more = [
            f"{one[key]:,} {words}"
            for key, words in (
                ("left_out", "left out: empty, there twice, or in the validation or test set"),
                ("cut", "left out, so that no kind has more words"),
            )
            if one[key]
        ]
        said = f"{listed(one['names'])}: {one['texts']:,} texts, {one['words']:,} words"
        rows.append((f"{kind} kind", "; ".join([said, *more])))
    return rows


def write_self_taught(record: Mapping[str, Any], directory: Path) -> str:
    """Write ``self_taught.json``, ``.md``, ``.html`` and the picture.

    Args:
        record: From :func:`self_taught`.
        directory: Made if it is not there.

    Returns:
        The tables and the sentence, for the terminal.
    """
    from nlptl.methods.self_taught.page import page
    from nlptl.methods.self_taught.render import figure, markdown, text
    from nlptl.study.render.study_page import write_study

    alt = "each first stage beside the checkpoint as it is"
    write_study(record, "self_taught", (markdown(record), figure(record), alt), page, directory)
    return text(record)
