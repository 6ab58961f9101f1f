"""The study: each task alone, with the others and after another one, over seeds, no run made twice."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nlptl.data.progress import quiet_datasets
from nlptl.errors import ConfigError, Diverged, Problems, listed, suggest
from nlptl.methods.multi_task.batches import mix_steps, steps_alone
from nlptl.methods.multi_task.method import Chain, InMix, partners_of
from nlptl.methods.multi_task.mixed import Share, train_mixed
from nlptl.methods.multi_task.options import ALONE, CHAIN, METHODS, MIXED
from nlptl.methods.multi_task.tasks import Drawn, Member, named
from nlptl.methods.multi_task.verdict import study_record
from nlptl.models.loading import load_tokenizer, pooling_under, trained_config
from nlptl.models.tokenizer import longest_input
from nlptl.modes.base import parse_mode
from nlptl.runs.directory import save_run
from nlptl.study import outcomes
from nlptl.study.arms import Arm, ArmSpec, View
from nlptl.study.cells import EVERY, going_on, unfinished
from nlptl.study.keeping import is_saved
from nlptl.study.outcomes import Outcome, diverged_outcome, outcome_of
from nlptl.study.study import Study
from nlptl.study.unread import FORGETTING, check_read
from nlptl.tasks.base import Task
from nlptl.train.header import runs_row, way_rows
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import Block, muted, say

#: Function from a number of training examples and a task to arguments with every default filled in.
Args = Callable[[int, Task], FinetuneArgs]


def check_methods(config: Any) -> None:
    """Make sure that the methods exist, and that the mode and the flags leave the tasks something to share.

    Raises:
        UserError: With all that is wrong.
    """
    problems = Problems()
    for name in config.methods:
        if name not in METHODS:
            problems.add(
                f"--methods {name}: there is no such method.{suggest(name, METHODS)} There are: "
                f"{listed(METHODS)}."
            )
    if not config.temperature > 0:
        problems.add(f"--temperature is {config.temperature:g}; expected a number above 0, or inf.")
    if config.mixout and MIXED in config.methods:
        problems.add(
            "--mixout mixes the weights of one model, and the tasks of a mix have one each around a common "
            "body. Leave it out, or use --l2-sp."
        )
    if getattr(config, "augment", None) is not None:
        problems.add(
            f"--augment {config.augment}: each text has as many copies as it can have, and here tasks are "
            "compared at equal steps. Leave the flag out."
        )
    names = list(named(config.tasks, problems))
    if names and config.first is not None and config.first not in names:
        problems.add(
            f"--first {config.first}: there is no such task.{suggest(config.first, names)} There are: "
            f"{listed(names)}."
        )
    problems.run(check_read, config, {"first": (CHAIN,), FORGETTING: ()}, config.methods)
    problems.run(check_mode, config.mode)
    problems.raise_if_any()


def check_mode(name: str) -> None:
    """Make sure that a mode trains blocks, which are what tasks share, in one stage.

    Raises:
        ConfigError: If it does not.
    """
    mode = parse_mode(name)
    for wrong, why in (
        (mode.staged, "has stages, each with another set of weights"),
        (
            mode.definition.untrained or not mode.trains_blocks,
            "trains nothing that tasks could share",
        ),
        (not mode.merges, "trains a prompt, which is not a part of the body"),
    ):
        if wrong:
            raise ConfigError(
                f"--mode {name}: it {why}. Take a mode that trains blocks in one stage, such as full, "
                "freeze-lower-8 or lora."
            )


@dataclass(frozen=True)
class Entry:
    """A task of the study with what it is run by.

    Attributes:
        member: The task.
        study: Its arms over the seeds.
        args: Its hyper-parameters in the mix; alone it has other epochs, as many steps.
        view: What a seed sees of its splits.
    """

    member: Member
    study: Study
    args: FinetuneArgs
    view: View | None

    def seen(self, seed: int) -> Mapping[str, Any]:
        """Return the splits that a seed sees."""
        return self.study.view(self.view, seed)

    def size(self, seed: int, cap: int | None) -> int:
        """Count the optimizer steps of a pass over its training set, or over ``cap`` examples of it."""
        args, count = self.args, features(self.member.task, self.seen(seed)["train"], self.args)
        kept = count if cap is None else min(count, cap)
        return steps_alone(math.ceil(kept / args.batch_size), args.gradient_accumulation_steps)


def features(task: Task, table: Any, args: FinetuneArgs) -> int:
    """Count what batches are made of: the examples, or the windows of a task that reads tokens."""
    if task.pooled:
        return len(table)
    tokenizer = load_tokenizer(args.model)
    config = trained_config(args.model, pooling_under(task, args.model, args.pooling))
    length = longest_input(config, tokenizer, args.max_length, usual=task.usual_length)
    return len(task.encode(table, tokenizer, length).rows)


def entries_of(config: Any, members: Sequence[Member], args: Args) -> list[Entry]:
    """Fill in each task's arguments; all have the same epochs, the most that one of them has alone."""
    view = None if config.max_train_examples is None else Drawn(config.max_train_examples)
    seeds = range(config.seed, config.seed + config.seeds)
    own, studies = [], []
    for member in members:
        studies.append(Study(member.task, member.splits, {}, seeds))
        examples = len(studies[-1].view(view, config.seed)["train"])
        own.append(args(examples, member.task))
    epochs = max(one.epochs for one in own)
    return [
        Entry(member, study, replace(one, epochs=epochs), view)
        for member, study, one in zip(members, studies, own, strict=True)
    ]


def multi_task(config: Any, members: Sequence[Member], args: Args) -> dict[str, Any]:
    """Run each task alone, in the mix and after another one, and compare.

    Args:
        config: Flags of the study.
        members: The tasks.
        args: Arguments by number of training examples and task.

    Returns:
        What ``multi_task.json`` holds.
    """
    entries = entries_of(config, members, args)
    first = first_of(config, entries)
    add_arms(config, entries, first)
    announce(config, entries)
    tables: dict[str, dict[str, Arm]] = {}
    for entry in entries:
        with quiet_datasets():
            tables[entry.member.name] = entry.study.run(parallel=config.parallel)
    if MIXED in config.methods:
        mixed = [run_mix(config, entries, seed) for seed in entries[0].study.seeds]
        for number, entry in enumerate(entries):
            own = tuple(each[number] for each in mixed)
            if all(outcome.diverged for outcome in own):
                raise Diverged(
                    "The loss of the mix became infinite in every run. Lower --learning-rate."
                )
            tables[entry.member.name][MIXED] = Arm(own, entry.args, MIXED)
    shutil.rmtree(chain_home(config), ignore_errors=True)
    free_states()
    steps = mix_of(config, entries, config.seed)
    return study_record(config, entries, tables, first.member.name, steps)


def first_of(config: Any, entries: Sequence[Entry]) -> Entry:
    """Return the task that ``chain`` begins with: the one asked for, or the largest."""
    if config.first is not None:
        return next(entry for entry in entries if entry.member.name == config.first)
    return max(entries, key=lambda entry: len(entry.seen(config.seed)["train"]))


def mix_of(config: Any, entries: Sequence[Entry], seed: int) -> list[int]:
    """Count each task's optimizer steps in an epoch of the mix."""
    return mix_steps([entry.size(seed, config.cap) for entry in entries], config.temperature)


def add_arms(config: Any, entries: Sequence[Entry], first: Entry) -> None:
    """Specify for each task the bound, for as many steps as it has in the mix, and the chain."""
    steps = mix_of(config, entries, config.seed)
    for entry, count in zip(entries, steps, strict=True):
        name, arms = entry.member.name, entry.study.arms
        epochs = entry.args.epochs * count / entry.size(config.seed, None)
        alone = replace(entry.args, epochs=epochs)
        arms[ALONE] = ArmSpec(alone, view=entry.view, title=f"{name}, alone")
        if CHAIN in config.methods and entry is not first:
            before = first.study.arms.get(ALONE)
            own = before.args if before else first.args
            method = Chain(first.member, own, config.max_train_examples, chain_home(config))
            title = f"{name}, after {first.member.name}"
            arms[CHAIN] = ArmSpec(alone, method, view=entry.view, title=title)


def chain_home(config: Any) -> Path:
    """Return the directory of the models that ``chain`` goes on from, while the study runs."""
    return config.output_dir / "first"


def announce(config: Any, entries: Sequence[Entry]) -> None:
    """Print what will be run."""
    model, *training = way_rows(entries[0].args, config)
    rows = [model]
    for number, entry in enumerate(entries):
        member, seen = entry.member, entry.seen(config.seed)
        n = ", ".join(f"{len(seen[name]):,} {name}" for name in ("train", "validation", "test"))
        rows.append(("tasks" if not number else "", f"{member.name}: {member.task.name}, {n}"))
    arms = [spec.title for entry in entries for spec in entry.study.arms.values()]
    mixed = ["all in one mix"] * (MIXED in config.methods)
    say(Block([*rows, *training, runs_row([*arms, *mixed], config.seeds)]))
    for entry in entries:
        for note in entry.member.record.get("notes", ()):
            say(f"note: {entry.member.name}: {note}")


def run_mix(config: Any, entries: Sequence[Entry], seed: int) -> list[Outcome]:
    """Make one run of the mix, or find the outcomes of all its tasks on disk.

    Args:
        config: Flags of the study.
        entries: The tasks.
        seed: The seed; the models of the first one are saved, if that is asked for.

    Returns:
        An outcome for each task.
    """
    accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=seed)
    steps = mix_of(config, entries, seed)
    own = [
        replace(
            one.args,
            seed=seed,
            pooling=pooling_under(one.member.task, one.args.model, one.args.pooling),
        )
        for one in entries
    ]
    hashes = [entry.study.data_hash(entry.view, seed) for entry in entries]
    partners = partners_of([entry.member for entry in entries], hashes, own, steps)
    keys = [
        outcomes.outcome_key(
            entry.study.checkpoint_hash(args.model, pooling=args.pooling),
            entry.member.task,
            data,
            args,
            method=InMix(number, partners),
            processes=accelerator.num_processes,
            device=accelerator.device.type,
        )
        for number, (entry, args, data) in enumerate(zip(entries, own, hashes, strict=True))
    ]
    accelerator.wait_for_everyone()
    kept = [outcomes.load(key) for key in keys]
    homes = saved_in(config, entries) if config.save and seed == config.seed else []
    found = [one for one in kept if one is not None]
    saved = dict(zip(homes, keys, strict=False))  # none, unless they are to be saved
    if len(found) == len(keys) and all(is_saved(home, key) for home, key in saved.items()):
        told(entries, seed, found, "kept from before")
        return found
    accelerator.wait_for_everyone()
    shares = [
        Share(entry.member.task, entry.seen(seed), replace(args, save_every=EVERY), count)
        for entry, args, count in zip(entries, own, steps, strict=True)
    ]
    with unfinished(keys[0], accelerator) as home:
        found = trained(config, entries, shares, own, saved, accelerator, home)
    if accelerator.is_main_process:
        for key, outcome in zip(keys, found, strict=True):
            outcomes.keep(key, outcome)
    told(entries, seed, found, f"{found[0].measured.get('mix_seconds', 0):.0f} s")
    return found


def trained(
    config: Any,
    entries: Sequence[Entry],
    shares: Sequence[Share],
    args: Sequence[FinetuneArgs],
    saved: Mapping[Path, str],
    accelerator: Any,
    home: Path | None,
) -> list[Outcome]:
    """Train a mix, and save each task's model where there is a directory for it, with its outcome's key."""

    def save(number: int, run: Run) -> None:
        if not saved:
            return
        place, key = [*saved.items()][number]
        if is_saved(place, key):
            return
        data = {**entries[number].member.record, "sha256": entries[number].study.data_hash()}
        extra = {"method": MIXED, "measured": run.measured, "data": data, "outcome": key}
        save_run(run, place, extra=extra, accelerator=accelerator)

    make = partial(train_mixed, shares, accelerator=accelerator, made=save)
    try:
        with muted():
            runs = going_on(make, home, accelerator, seed=args[0].seed)
    except Diverged:
        rows = zip(shares, args, strict=True)
        return [diverged_outcome(share.task, share.splits, own) for share, own in rows]
    return [outcome_of(run, own) for run, own in zip(runs, args, strict=True)]


def saved_in(config: Any, entries: Sequence[Entry]) -> list[Path]:
    """List the directories of the saved models, a run for each task."""
    return [config.output_dir / "tasks" / entry.member.name for entry in entries]


def told(entries: Sequence[Entry], seed: int, found: Sequence[Outcome], how: str) -> None:
    """Print the scores of a mix."""
    scores = ", ".join(
        f"{entry.member.name} {outcome.score:.4f}"
        for entry, outcome in zip(entries, found, strict=True)
    )
    say(f"mixed, seed {seed}: {scores} ({how})")


def write_multi_task(record: Mapping[str, Any], directory: Path) -> str:
    """Write ``multi_task.json``, ``.md``, ``.html`` and the picture.

    Args:
        record: From :func:`multi_task`.
        directory: Made if it is not there.

    Returns:
        The tables and the sentence, for the terminal.
    """
    from nlptl.methods.multi_task.page import page
    from nlptl.methods.multi_task.render import figure, markdown, text
    from nlptl.study.render.study_page import write_study

    alt = "each task with the others, against the task alone"
    write_study(record, "multi_task", (markdown(record), figure(record), alt), page, directory)
    return text(record)
