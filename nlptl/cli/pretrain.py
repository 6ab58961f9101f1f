"""Checks of a pretraining configuration, with its defaults filled in."""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from nlptl.cli.check import (
    check_flags,
    check_training,
    from_config,
    launch,
)
from nlptl.cli.doctor import own_version
from nlptl.cli.output import check_directory, reserve_output_dir
from nlptl.cli.precision import check_precision, with_precision
from nlptl.cli.values import with_sound_numbers
from nlptl.errors import ConfigError, Problems, listed
from nlptl.models.families import check_family
from nlptl.models.layer_map import longest_text
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.models.tokenizer import longest_input
from nlptl.models.tracing import width_of
from nlptl.modes.base import Mode, default_learning_rate, kinds_of
from nlptl.pretrain.architecture import check_architecture, longest_position
from nlptl.pretrain.building import SENTINELS, check_growth, model_to_train
from nlptl.pretrain.corpus import load_corpus, tokenize
from nlptl.pretrain.header import header_rows
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.objectives import Objective
from nlptl.pretrain.pretrain import AT_WIDTH, GOING_ON, Extra, PretrainArgs
from nlptl.pretrain.recurring_spans import RecurringSpans
from nlptl.pretrain.span_corruption import SpanCorruption, check_sentinels, sentinel_ids
from nlptl.train.header import defaults_used
from nlptl.train.optimizer import OPTIMIZERS
from nlptl.train.setup import TrainArgs, steps_for
from nlptl.train.terminal import Block, is_main_process, say

#: Flags that describe a new model; any of them asks for one.
NEW_MODEL = ("architecture", "tokenizer", "width", "positions", "vocab_size", "warm_start")
#: Checkpoint that training continues from, if no new model is asked for.
START = "bundled/bert"
#: Size of a vocabulary from scratch, and the smallest that a family's kind can be trained with (BERT's
#: letters; RoBERTa's 256 bytes and 5 special tokens; T5's 100 sentinels and its letters).
VOCABULARY, LEAST_VOCABULARY = 8192, {"bert": 100, "roberta": 261, "t5": 200}
#: Defaults: tokens per piece; optimizer steps of a new model; epochs of a checkpoint, with at most as many
#: steps.
LENGTH, STEPS, EPOCHS = 128, 10_000, 5


def asks_for_new(config: Any) -> list[str]:
    """List the flags of :data:`NEW_MODEL` that a configuration sets."""
    values = {name: getattr(config, name) for name in NEW_MODEL}
    return [name for name, value in values.items() if value is not None and value is not False]


def with_start(config: Any) -> Any:
    """Fill in where a :class:`nlptl.cli.config.PretrainConfig` starts: at a checkpoint or a new model."""
    if config.model is not None:
        return config
    if not asks_for_new(config):
        return dataclasses.replace(config, model=START)
    changes: dict[str, Any] = {"architecture": config.architecture or "bert"}
    if config.vocab_size is None and config.tokenizer is None:
        changes["vocab_size"] = VOCABULARY
    return dataclasses.replace(config, **changes)


def check_start(config: Any) -> None:
    """Make sure that no two flags contradict each other about the start and the length of training.

    Raises:
        UserError: With all contradictions.
    """
    problems, given = Problems(), asks_for_new(config)
    if config.model is not None and given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        problems.add(
            f"--model {config.model} and {flags} contradict each other: the one continues from a checkpoint "
            "as it is, the others describe a new model. Leave out the one or the others."
        )
    if config.epochs is not None and config.steps is not None:
        problems.add("--epochs and --steps both say how long to train; give one.")
    if config.tokenizer is not None and config.vocab_size is not None:
        problems.add(
            "--tokenizer and --vocab-size: an existing tokenizer has a fixed size; give one."
        )
    problems.raise_if_any()


def check_from_scratch(config: Any) -> tuple[Mode, str, int]:
    """Check a configuration without a checkpoint; report all mistakes at once.

    Returns:
        The mode, the new model's family, and 0 as its width, which no default depends on.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    mode = check_flags(config, problems)
    config = with_sound_numbers(config)
    sizes = {"depth": config.depth, "width": config.width, "positions": config.positions}
    family = problems.run(check_architecture, config.architecture, **sizes)
    if family:
        problems.run(check_precision, config.precision, family)
        problems.run(check_sizes, config, family)
    if mode and not mode.trains_all:
        problems.add(f"--mode {mode.name}: a model from scratch has nothing to keep; use full.")
    problems.raise_if_any()
    assert mode and family  # raised above otherwise
    return mode, family, 0


def check_going_on(config: Any) -> tuple[Mode, str, int]:
    """Check a configuration with a checkpoint, which may grow before training; report all mistakes at once.

    Returns:
        The mode, and the model's family and width.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    checked = problems.run(check_training, config, grown=config.depth or 0)
    if checked:
        problems.run(check_family, checked[1].model_type, f"--model {config.model}")
    if config.depth is not None:
        with problems.collect():
            check_growth(load_config(config.model), config.depth)
    problems.raise_if_any()
    assert checked  # raised above otherwise
    mode, model = checked
    return mode, model.model_type, width_of(model)


def check_sizes(config: Any, family: str) -> None:
    """Make sure that a new model's vocabulary and positions are large enough.

    Raises:
        UserError: If one is not.
    """
    problems = Problems()
    longest = longest_position(config.architecture, config.positions, config.max_length)
    if config.max_length is not None and config.max_length > longest:
        problems.add(
            f"--max-length {config.max_length}: the new model takes at most {longest} tokens (--positions)."
        )
    least = LEAST_VOCABULARY[family]
    if config.vocab_size is not None and config.vocab_size < least:
        problems.add(
            f"--vocab-size is {config.vocab_size}; expected {least} or more, which a {family}'s special "
            "tokens and single letters take."
        )
    problems.raise_if_any()


@dataclass(frozen=True)
class Upstream:
    """A pretraining run that has been checked and can start.

    Attributes:
        config: Configuration with every default filled in, as in the run's ``config.yaml``.
        mode: What trains.
        objective: What is predicted.
        documents: Training texts, a dataset with the column ``text``.
        held_out: Texts set aside.
        record: Entries for ``result.json``: task, model, corpus, launch, and flags that had their defaults.
    """

    config: Any
    mode: Mode
    objective: Objective
    documents: Any
    held_out: Any
    record: dict[str, Any]

    def build(self) -> tuple[Any, Any, frozenset[str]]:
        """See :func:`nlptl.pretrain.building.model_to_train`."""
        return model_to_train(self.config, self.objective, self.documents)


def read_corpus(config: Any) -> tuple[Any, Any]:
    """Read the training and the held-out documents.

    Raises:
        UserError: If there are none, or they cannot be read.
    """
    if not config.corpus:
        raise ConfigError("--corpus is missing; expected texts without labels, name[:weight].")
    train, aside = load_corpus(config.corpus, column=config.text_column, held_out=config.held_out)
    # The documents that are scored do not depend on the seed, so that the losses of runs can be compared.
    return _some(train, config.max_train_examples, config.seed), _some(
        aside, config.max_eval_examples, 0
    )


def _some(documents: Any, most: int | None, seed: int) -> Any:
    if most is None or most >= len(documents):
        return documents
    return documents.shuffle(seed=seed).select(range(most))


def prepare_pretraining(config: Any) -> Upstream:
    """Check a :class:`nlptl.cli.config.PretrainConfig`, read its corpus, and reserve the output directory.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    problems, asked = Problems(), config
    problems.run(check_start, config)
    config = with_precision(with_start(config))
    sound = with_sound_numbers(config)
    corpus = problems.run(read_corpus, sound)
    check = check_from_scratch if config.model is None else check_going_on
    checked = problems.run(check, config)
    objective = problems.run(choose_objective, sound, checked[1]) if checked else None
    problems.run(check_start_share, config, checked[0] if checked else None)
    if checked and checked[0].staged:
        problems.add(
            f"--mode {config.mode}: its stages are for fine-tuning; pretrain in one mode, such as full."
        )
    about = checked and checked[0].definition
    if about and (about.untrained or about.random or not about.merges):
        problems.add(
            f"--mode {config.mode}: is for fine-tuning; pretrain in a mode that changes the checkpoint's "
            "weights, such as full. A new model comes from --architecture."
        )
    if objective:
        problems.run(check_tokenizer, config, objective)
    if isinstance(objective, SpanCorruption):
        problems.run(check_spans, sound, objective)
    if is_main_process():
        problems.run(check_directory, config)
    problems.raise_if_any()
    assert checked and objective and corpus  # raised above otherwise
    filled = resolve_upstream_defaults(config, objective, *checked)
    if is_main_process():
        reserve_output_dir(filled)
    record = {
        "task": filled.objective,
        "model": config.model,
        "architecture": config.architecture if config.model is None else None,
        "mode": config.mode,
        "mode_settings": checked[0].settings,
        "seed": config.seed,
        "data": {"corpus": list(config.corpus), "text_column": config.text_column},
        "defaults": defaults_used(asked),
        "launch": launch(),
    }
    ready = Upstream(filled, checked[0], objective, *corpus, record)
    usual = None if config.model or config.epochs else STEPS
    say(
        Block(
            header_rows(
                filled,
                [len(texts) for texts in corpus],
                steps=config.steps or usual,
                usual=f"{EPOCHS:g} epochs, at most {STEPS:,} steps",
                version=own_version(),
                launch=record["launch"],
                defaults=record["defaults"],
            )
        )
    )
    return ready


def resolve_upstream_defaults(
    config: Any, objective: Objective, mode: Mode, family: str, width: int
) -> Any:
    """Replace every None and every ``auto`` that has a default by that default.

    How many steps an epoch has is known only when the corpus is tokenized: see :func:`pretraining_plan`.
    """
    name = optimizer_of(config, objective, mode)
    return dataclasses.replace(
        config,
        objective=objective.name,
        optimizer=name,
        masked_weight=masked_weight(config, objective),
        learning_rate=config.learning_rate or default_rate(config, mode, family, width, name),
        max_length=piece_length(config, family),
    )


def masked_weight(config: Any, objective: Objective) -> float | None:
    """Return the weight of masked language modelling beside an objective that takes it: as asked, or 1."""
    asked = config.masked_weight
    return 1.0 if asked is None and isinstance(objective, RecurringSpans) else asked


def piece_length(config: Any, family: str) -> int:
    """Return the tokens of a piece's input: as asked, or 128, and no more than the model takes."""
    length = config.max_length or LENGTH
    if config.model is None:
        room = longest_position(config.architecture, config.positions, length)
    else:  # no more than it takes, or --config would refuse what it takes back
        room = longest_text(load_config(config.model))
    return min(length, room or length)


def check_spans(config: Any, task: SpanCorruption) -> None:
    """Make sure that the vocabulary, or the one that will be trained, has enough sentinels.

    Raises:
        UserError: If not, or if there is no such tokenizer.
    """
    length = piece_length(config, "t5")
    flag = "--tokenizer" if config.model is None else "--model"
    name = config.tokenizer if config.model is None else config.model
    if name is None:
        return check_sentinels(task, length, SENTINELS)
    tokenizer = load_tokenizer(name, split_special_tokens=False, flag=flag)
    return check_sentinels(task, length, len(sentinel_ids(tokenizer)))


def check_tokenizer(config: Any, objective: Objective) -> None:
    """Make sure that the tokenizer can be read and has the special tokens that the objective needs.

    Raises:
        UserError: If not.
    """
    name, flag = config.model, "--model"
    if name is None:
        name, flag = config.tokenizer, "--tokenizer"
    if name is None:  # one will be trained
        return
    tokenizer = load_tokenizer(name, split_special_tokens=False, flag=flag)
    needed = ("pad_token", "eos_token" if isinstance(objective, SpanCorruption) else "mask_token")
    lacks = [name for name in needed if getattr(tokenizer, name) is None]
    if lacks:
        remedy = (
            "one of the new model's own family, or leave --tokenizer out to train one"
            if flag == "--tokenizer"
            else "a checkpoint whose tokenizer has it, or add it to the tokenizer"
        )
        raise ConfigError(
            f"{flag} {name}: its tokenizer has no {listed(lacks)}, which this objective needs. Take {remedy}."
        )


def check_start_share(config: Any, mode: Mode | None) -> None:
    """Make sure that there is a start whose weights can be mixed in; report all mistakes at once.

    Raises:
        UserError: If the share is out of range, the model is new, or LoRA leaves the start as it is.
    """
    share, problems = config.start_share, Problems()
    if not 0 <= share < 1:
        problems.add(f"--start-share is {share}; expected 0 or more and less than 1.")
    if share and config.model is None:
        problems.add("--start-share needs --model: a model from scratch has nothing to keep.")
    if share and mode and mode.is_adapter:
        problems.add(
            "--start-share: under adapters the start's weights stay as they are; lower --lora-alpha instead."
        )
    problems.raise_if_any()


def choose_objective(config: Any, family: str) -> Objective:
    """Return the upstream objective of a family, with the flags that belong to it.

    Raises:
        ConfigError: If the family has no such head, or a flag belongs to another objective.
    """
    possible = ("span-corruption",) if family == "t5" else ("masked-lm", "recurring-spans")
    name = possible[0] if config.objective == "auto" else config.objective
    if name not in possible:
        raise ConfigError(f"--objective {config.objective}: {family} has no head for that.")
    problems = Problems()
    if name != "masked-lm" and (config.whole_words or config.bag_weight):
        whose = "to T5" if family == "t5" else f"to {name}"
        problems.add(f"--whole-words and --bag-weight belong to masked-lm, not {whose}.")
    if name == "recurring-spans" and config.model is None:
        problems.add(
            "--objective recurring-spans goes on from a checkpoint, and a new model is asked for. Pretrain it "
            "with masked-lm first, then give it as --model."
        )
    if name != "recurring-spans" and config.masked_weight is not None:
        problems.add(f"--masked-weight belongs to recurring-spans, not to {name}.")
    if config.teacher:
        problems.run(teacher_width, config.teacher)
    problems.raise_if_any()
    if name == "recurring-spans":
        return RecurringSpans()
    return (
        SpanCorruption(config.mask_share)
        if family == "t5"
        else MaskedLM(config.mask_share, config.whole_words)
    )


def extras_of(config: Any, width: int) -> list[Extra]:
    """List the loss terms that a configuration asks for besides the objective.

    Args:
        config: A :class:`nlptl.cli.config.PretrainConfig`.
        width: Width of the model.
    """
    from nlptl.pretrain.terms import BagOfWords, MaskedTerm, TeacherTerm

    found = []
    if config.masked_weight:
        make = partial(MaskedTerm, config.mask_share)
        found.append(Extra("masked_lm", config.masked_weight, make))
    if config.bag_weight:
        found.append(Extra("bag_of_words", config.bag_weight, BagOfWords))
    if config.teacher:
        values = teacher_width(config.teacher)
        make = partial(TeacherTerm, width, values)
        found.append(Extra("teacher", config.teacher_weight, make))
    return found


def teacher_width(name: str) -> int:
    """Count the values of a teacher's states of a piece: the means at its middle block and at its last.

    Raises:
        ModelError: If it is not a checkpoint.
    """
    return 2 * load_config(name, flag="--teacher").hidden_size


def pretraining_args(ready: Upstream, model: Any, tokenizer: Any, accelerator: Any) -> PretrainArgs:
    """Make the arguments of a pretraining: how long to train, and how.

    Adam's second moment has a short memory, as in Liu et al. (2019); T5 gets Adafactor, as in Raffel et al.
    (2020); see :func:`optimizer_of`.

    Args:
        ready: Run from :func:`prepare_pretraining`.
        model: Model that trains; its configuration says how long its input may be.
        tokenizer: Its tokenizer; the number of pieces, and so the steps per epoch, depend on it.
        accelerator: Accelerator that lets one process tokenize for all.
    """
    config = ready.config
    length = longest_input(model.config, tokenizer, config.max_length, usual=LENGTH)
    steps = config.steps
    if steps is None and config.model is None and config.epochs is None:
        steps = STEPS
    if steps is None:
        room = ready.objective.room(length, tokenizer)
        with accelerator.main_process_first():  # training finds the same pieces again
            batches = math.ceil(
                len(tokenize(ready.documents, tokenizer, room=room)) / config.batch_size
            )
        gradient_accumulation_steps = config.gradient_accumulation_steps
        steps = steps_for(config.epochs or EPOCHS, batches, gradient_accumulation_steps)
        steps = steps if config.epochs else min(steps, STEPS)
    train = from_config(
        TrainArgs,
        config,
        steps=steps,
        max_grad_norm=config.max_grad_norm or None,
        betas=(0.9, 0.98),
        groups=ready.mode.parameter_groups(model),
    )
    return from_config(PretrainArgs, config, train=train, max_length=length)


def default_rate(config: Any, mode: Mode, family: str, width: int, optimizer: str) -> float:
    """Return the default peak learning rate of a pretraining run.

    A new model gets its optimizer's rate. A checkpoint that is pretrained further gets half of that: under
    Adafactor, whose rates are relative to each tensor's size, whatever the mode and width; under AdamW scaled
    to the width, and higher where blocks are frozen, as in fine-tuning. A mode that has its own rate in
    fine-tuning keeps it here.
    """
    if config.model is None:
        return OPTIMIZERS[optimizer]
    if optimizer == "adafactor":
        return OPTIMIZERS[optimizer] / 2
    model = load_config(config.model)
    more = mode.rate_factor(kinds_of(model))
    if more is None:
        return default_learning_rate(mode, model)
    return float(f"{GOING_ON * more * AT_WIDTH / width:.2g}")


def optimizer_of(config: Any, objective: Objective, mode: Mode) -> str:
    """Return the optimizer's name; ``auto`` takes Adafactor for T5, else AdamW.

    LoRA gets AdamW in every family: half of its matrices begin at zero, and Adafactor's steps are in
    proportion to a tensor's size.
    """
    if config.optimizer != "auto":
        return config.optimizer
    t5 = isinstance(objective, SpanCorruption) and not mode.is_adapter
    return "adafactor" if t5 else "adamw"
