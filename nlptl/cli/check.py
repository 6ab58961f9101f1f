"""Checks of a configuration, with its defaults filled in."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nlptl.cli.doctor import own_version
from nlptl.cli.manner import check_manner, check_warmup, check_without_steps, head_of
from nlptl.cli.output import check_directory, reserve_output_dir
from nlptl.cli.precision import check_precision, with_precision
from nlptl.cli.values import check_numbers, with_sound_numbers
from nlptl.data.encoding import splits_hash
from nlptl.data.progress import waiting
from nlptl.errors import ConfigError, DataError, Problems, many
from nlptl.models.layer_map import depth
from nlptl.models.loading import folder_of, load_tokenizer, reading, resolve, trained_config
from nlptl.models.reuse import check_kept, read_kept
from nlptl.models.sentence_encoder import declared
from nlptl.models.tokenizer import longest_input
from nlptl.models.weights_check import check_shapes
from nlptl.modes.base import Mode, default_learning_rate, parse_mode
from nlptl.tasks.base import Task
from nlptl.train.copies import check_augment
from nlptl.train.defaults import usual_values
from nlptl.train.header import defaults_used, limits_of, run_header
from nlptl.train.launch import check_launch
from nlptl.train.machine import launchers_environment
from nlptl.train.setup import FinetuneArgs
from nlptl.train.terminal import Block, is_main_process, say

#: Most documents of --upstream-text that are read.
DOCUMENTS = 5000

A = TypeVar("A")
C = TypeVar("C")
#: Function of a configuration that gives the task, the splits and their record.
PrepareData = Callable[[Any], tuple[Task, dict[str, Any], dict[str, Any]]]


def check_tracker(name: str | None) -> None:
    """Make sure that Accelerate knows a tracker and that its package is installed.

    Raises:
        ConfigError: If not; the message lists the trackers that can be used now.
    """
    if name is None:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    ready = [str(getattr(t, "value", t)) for t in get_available_trackers()]
    if name not in ready:
        known = sorted(str(getattr(key, "value", key)) for key in LOGGER_TYPE_TO_CLASS)
        what = "its package is not installed" if name in known else "there is no such tracker"
        raise ConfigError(
            f"--tracker {name}: {what}. Ready here: {', '.join(ready) or 'none'}; Accelerate knows "
            f"{', '.join(known)}."
        )


def read_mode(config: Any) -> Mode:
    """Parse ``--mode`` and the flags of LoRA.

    Raises:
        UserError: If there is no such mode, or its settings are wrong.
    """
    return parse_mode(
        config.mode,
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        targets=config.lora_targets or None,
        dropout=config.lora_dropout,
    )


def check_model(
    name: str, max_length: int | None, pooling: str | None = None, vectors: int = 0
) -> tuple[Any, int]:
    """Read a checkpoint's configuration and tokenizer.

    Args:
        name: Bundled name, directory or hub name.
        max_length: Tokens per text, if a number is asked for.
        pooling: ``--pooling``: of an encoder-decoder maybe only the encoder is trained.
        vectors: Number of a mode's vectors before the text (:attr:`nlptl.modes.base.Mode.vectors`).

    Returns:
        Its configuration and its number of blocks.

    Raises:
        ModelError: If it cannot be used.
    """
    config = trained_config(name, pooling)
    longest_input(config, load_tokenizer(name), max_length, taken=vectors)
    path = resolve(name)
    check_shapes(name, Path(path) / folder_of(declared(path)), config)
    return config, sum(depth(config))


def check_reading(config: Any, kind: type[Task]) -> None:
    """Make sure that a task's head can read the states as ``--pooling`` and ``--head`` say.

    Args:
        config: A :class:`nlptl.cli.config.SupervisedConfig`.
        kind: The task.

    Raises:
        UserError: With a flag that needs pooled states of a task that pools nothing, and with a pooling that
            the checkpoint cannot have.
    """
    problems = Problems()
    if kind.pooled:
        problems.run(reading, config.model, config.pooling)
    elif config.pooling != "auto":
        problems.add(
            f"--pooling {config.pooling}: the head of the task {kind.name} reads the state of every token, so "
            "nothing is pooled. Leave the flag out."
        )
    if not kind.pooled and kind.head_fit is Task.head_fit:
        problems.run(refuse_fit, config, kind)
    problems.raise_if_any()


def upstream_texts(name: str | None) -> list[str] | None:
    """Read the first texts of a corpus to measure forgetting on; return None if no corpus is named.

    Args:
        name: ``--upstream-text``.

    Raises:
        DataError: If the corpus cannot be read, or holds nothing but blanks.
    """
    if name is None:
        return None
    from nlptl.pretrain.corpus import read_documents

    table = read_documents(name, "text", "--upstream-text")
    texts = [text for text in table.select(range(min(DOCUMENTS, len(table))))["text"][:] if text]
    if not any(text.strip() for text in texts):
        raise DataError(
            f"--upstream-text {name}: its first {DOCUMENTS:,} rows hold no text; expected some held-out text."
        )
    return texts


def check_cache(asked: str, mode: Mode) -> None:
    """Make sure that there is something to keep if a cache was asked for.

    Raises:
        ConfigError: If the mode changes something in or below every block.
    """
    if asked in ("memory", "disk") and not mode.has_frozen_stem:
        raise ConfigError(
            f"--cache {asked}: under --mode {mode.name} every block changes or lies above something that "
            "does, so none can be cached. Use auto or off, or freeze blocks."
        )


def check_reuse(config: Any, model: Any, mode: Mode, blocks: int) -> int:
    """Make sure that the blocks that are to be kept are there, and that those to be drawn again will train.

    Args:
        config: A :class:`nlptl.cli.config.TrainingConfig`.
        model: Configuration of the checkpoint.
        mode: What trains.
        blocks: Number of the checkpoint's blocks.

    Returns:
        The number of blocks that the model has in the end.

    Raises:
        UserError: If not.
    """
    problems = Problems()
    if kept := getattr(config, "keep_layers", None):
        numbers = problems.run(read_kept, kept)
        found = problems.run(check_kept, numbers, model, config.model) if numbers else None
        blocks = found or blocks
        if getattr(config, "report", None):
            problems.add(
                "--report compares each block with the checkpoint's, and with --keep-layers some are gone. "
                "Leave one of the two out; nlptl run compare compares scores."
            )
    top = getattr(config, "reinit_top", 0)
    each = [stage.mode for stage in mode.stages(blocks)] or [mode]
    lowest = max(one.frozen_blocks(blocks) for one in each)
    if top > blocks:
        problems.add(
            f"--reinit-top {top}: {config.model} has {many(blocks, 'block')}; expected at most that."
        )
    elif top and (mode.is_adapter or lowest > blocks - top):
        problems.add(
            f"--reinit-top {top}: under --mode {mode.name} random blocks would stay as they are. Take a mode "
            "that trains them from the first step, such as full."
        )
    problems.raise_if_any()
    return blocks


def check_training(config: Any, *, grown: int = 0) -> tuple[Mode, Any]:
    """Check everything about training a checkpoint that needs no data; report all mistakes at once.

    Args:
        config: A :class:`nlptl.cli.config.TrainingConfig` with a checkpoint.
        grown: Number of blocks that the checkpoint grows to before it is trained; 0 if it does not grow.

    Returns:
        The mode, and the model's configuration.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    mode = check_flags(config, problems)
    length = with_sound_numbers(config).max_length
    pooling = getattr(config, "pooling", None)
    model = problems.run(check_model, config.model, length, pooling, mode.vectors if mode else 0)
    if model:
        problems.run(check_precision, config.precision, model[0].model_type)
    if mode:
        problems.run(check_cache, getattr(config, "cache", "off"), mode)
    if mode and model:
        sound, blocks = with_sound_numbers(config), max(model[1], grown)
        kept = problems.run(check_reuse, sound, model[0], mode, blocks)
        problems.run(mode.check, kept or blocks, config.model, model[0])
    if mode:
        problems.run(check_manner, with_sound_numbers(config), mode)
    problems.raise_if_any()
    assert mode and model  # raised above otherwise
    return mode, model[0]


def check_flags(config: Any, problems: Problems) -> Mode | None:
    """Check launch, numbers, tracker and mode, and note every mistake.

    Returns:
        The mode, if it can be read.
    """
    problems.run(check_launch, os.environ, launchers_environment())
    problems.run(check_numbers, config)
    problems.run(check_tracker, config.tracker)
    return problems.run(read_mode, with_sound_numbers(config))  # a wrong rank is reported once


def resolve_defaults(config: C, mode: Mode, model: Any, examples: int, task: Task) -> C:
    """Replace every None that has a default by that default.

    Args:
        config: Configuration of the run.
        mode: Its mode.
        model: Configuration of the checkpoint.
        examples: Number of training examples.
        task: Task of the run.
    """
    known: Any = config
    if mode.definition.untrained:  # no rate and no epochs
        return config
    head = head_of(known, mode, task)
    values = usual_values(known, mode=mode, task=task, head=head, model=model, examples=examples)
    return dataclasses.replace(known, head=head, **values)


def check_head(config: Any, task: Task) -> None:
    """Make sure that a task's head can start from a fit if ``--head`` says so.

    :func:`check_reading` refuses it of a head that reads no pooled state, :func:`check_manner` of a mode
    that does not start from a fit.

    Raises:
        ConfigError: If there is no convex fit for the task.
    """
    if task.head_fit is None and task.pooled:
        refuse_fit(config, type(task))


def refuse_fit(config: Any, kind: type[Task]) -> None:
    """Refuse a ``--head`` that starts from a fit.

    Raises:
        ConfigError: If the flag asks for one.
    """
    if config.head not in (None, "random"):
        raise ConfigError(
            f"--head {config.head}: a head of the task {kind.name} has no convex fit, as it reads no pooled "
            "state or has a loss of its own. Use random, or leave the flag out."
        )


def finetune_args(config: Any, mode: Mode, seed: int) -> FinetuneArgs:
    """Return the arguments of one seed's run."""
    own = {"mode": mode, "seed": seed, "max_grad_norm": config.max_grad_norm or None}
    own |= dict.fromkeys(("epochs", "learning_rate"), 0.0) if mode.definition.untrained else {}
    if config.learning_rate == "find":
        rate = default_learning_rate(mode, trained_config(config.model, config.pooling))
        own |= {"learning_rate": rate, "find_rate": True}
    return from_config(FinetuneArgs, config, **own)


def from_config(kind: type[A], config: Any, **own: Any) -> A:
    """Make arguments from the configuration's values of the same names.

    Args:
        kind: A dataclass of arguments.
        config: The configuration.
        own: Values that go before the configuration's.
    """
    names = {field.name for field in dataclasses.fields(kind)} & set(vars(config))  # type: ignore[arg-type]
    return kind(**{**{name: getattr(config, name) for name in names}, **own})


@dataclass(frozen=True)
class Prepared:
    """A run that has been checked and can start.

    Attributes:
        config: Configuration with every default filled in, as in the run's ``config.yaml``.
        mode: What trains.
        task: What the examples mean.
        splits: ``train``, ``validation``, ``test``.
        record: Entries for ``result.json``: origin and hash of the data, the flags that had their default
            values, and how the run was launched; only the hash for a report of a finished run.
    """

    config: Any
    mode: Mode
    task: Task
    splits: dict[str, Any]
    record: dict[str, Any]

    def args(self, seed: int) -> FinetuneArgs:
        """Return the arguments of one seed's run."""
        return finetune_args(self.config, self.mode, seed)


def drawn_by_split_seed(prepare_data: PrepareData) -> PrepareData:
    """Let a function that reads the data of a configuration draw splits and subsets by ``--split-seed``.

    Each run of ``--seeds N`` has its own seed, but the data of the first run; with its own seed it would carve
    out another test set than the one that it was scored on.

    Args:
        prepare_data: Function that draws by ``config.seed``.
    """

    def prepare(config: Any) -> tuple[Task, dict, dict]:
        if config.split_seed is None:
            return prepare_data(config)
        return prepare_data(dataclasses.replace(config, seed=config.split_seed))

    return prepare


def check_explain(kind: type[Task]) -> None:
    """Make sure that ``--explain`` can mark words: captum is there, and a text has one answer.

    Raises:
        UserError: If not.
    """
    from nlptl.runs.explaining import check_explained, check_installed

    problems = Problems()
    problems.run(check_installed)
    problems.run(check_explained, kind)
    problems.raise_if_any()


def prepare_run(config: Any, kind: type[Task]) -> Prepared:
    """Check flags, checkpoint, data and output directory, and reserve the directory.

    Everything that can be wrong is found here, before any slow work, and reported in one message.

    Args:
        config: A recipe's configuration.
        kind: The task, which reads and checks the data.

    Raises:
        UserError: With every mistake.
    """
    config, problems = with_precision(config), Problems()
    training = problems.run(check_training, config)
    problems.run(check_reading, config, kind)
    problems.run(check_augment, config, kind)
    with waiting("reading the data"):
        data = problems.run(drawn_by_split_seed(kind.prepare), with_sound_numbers(config))
    problems.run(upstream_texts, config.upstream_text)
    if config.explain:
        problems.run(check_explain, kind)
    if data:
        problems.run(check_head, config, data[0])
        if training:
            problems.run(check_without_steps, with_sound_numbers(config), training[0], data[0])
    if is_main_process():  # the others would find its directory
        problems.run(check_directory, config)
    problems.raise_if_any()
    assert training and data  # raised above otherwise
    mode, model = training
    task, splits, origin = data
    notes = list(origin.pop("notes", ()))
    filled = resolve_defaults(config, mode, model, len(splits["train"]), task)
    check_warmup(filled, mode, task, len(splits["train"]))
    if is_main_process():
        reserve_output_dir(filled)
    record = {
        "notes": notes,
        "data": {**origin, "sha256": splits_hash(splits)},
        "defaults": defaults_used(config),
        "launch": launch(),
    }
    ready = Prepared(filled, mode, task, splits, record)
    announce(ready, model)
    return ready


def announce(ready: Prepared, model: Any) -> None:
    """Print the first lines of a run, and the notes on its data.

    Args:
        ready: The run.
        model: Configuration of the checkpoint.
    """
    config, record = ready.config, ready.record
    rows = run_header(
        ready.task,
        ready.splits,
        ready.args(config.seed),
        version=own_version(),
        config=model,
        origin=record["data"],
        launch=record["launch"],
        defaults=record["defaults"],
        limits=limits_of(config),
        split_seed=config.split_seed,
    )
    say(Block(rows))
    for note in record["notes"]:
        say(f"note: {note}")


def launch() -> dict[str, Any]:
    """Return the precision and the number of processes, which a run's numbers depend on too."""
    return {
        "mixed_precision": os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
