"""The command line, the YAML file and the saved configuration: one dataclass for each recipe.

A field's text stands once, under the field; ``--help`` prints it. Configuration stops at the
recipe: the code below takes plain arguments.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from nlptl.cli.ending import exit_codes
from nlptl.cli.values import check_words, check_written, declared_types, flag_groups, from_yaml
from nlptl.data.augment.options import AugmentOptions
from nlptl.data.frames import with_own_files
from nlptl.data.progress import waiting
from nlptl.errors import ConfigError, Problems, listed, shortened, suggest
from nlptl.tasks import options_of
from nlptl.tasks.options import (
    ClassifyOptions,
    QuestionAnsweringOptions,
    TextClassificationOptions,
)
from nlptl.train.stopping import words_of_program
from nlptl.train.terminal import is_main_process

C = TypeVar("C")
HELP = {"-h", "--help"}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Flags that every recipe that trains has in common."""

    mode: str = "full"
    """What trains, such as full or freeze-lower-8; --mode list prints all modes."""
    batch_size: int = 16
    """Examples per batch, over all processes."""
    gradient_accumulation_steps: int = 1
    """Batches per optimizer step (gradient accumulation); k batches equal one that is k times as large."""
    schedule: Literal["linear", "cosine", "constant", "slanted"] = "linear"
    """Learning rate after warm-up; slanted is ULMFiT's triangle, from a 32nd of the peak up and down again."""
    learning_rate: float | Literal["find"] | None = None
    """Peak learning rate; the default depends on the mode and the model family (see docs/modes.md). find takes
    the one that a range test on training batches finds."""
    warmup: float = 0.1
    """Warm-up: below 1 a share of all optimizer steps, from 1 on a number of steps."""
    weight_decay: float = 0.01
    """Weight decay; biases and norms never get any."""
    max_grad_norm: float = 1.0
    """Largest global norm of the gradient, which is clipped to it; 0 turns clipping off."""
    max_length: int | None = None
    """Most tokens per text; longer texts are truncated. By default as many as the model takes, at most 512."""
    seed: int = 0
    """Seed for the head, the data order, dropout and the splits."""
    lora_rank: int | None = None
    """Rank of LoRA's update; 8 by default."""
    lora_alpha: float | None = None
    """Numerator of LoRA's scale alpha / rank; twice the rank by default."""
    lora_dropout: float | None = None
    """Dropout rate on the input of LoRA's adapters; 0 by default."""
    lora_targets: tuple[str, ...] = ()
    """Linear layers that get an adapter, such as query value, or all-linear; by default the query and
    value projections."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of matrix products (autocast); auto takes bf16 where the GPU or processor has units for it,
    else fp32."""
    compile: bool = False
    """Compile the model (torch.compile); pays on GPUs and long runs, seldom on CPUs."""
    gradient_checkpointing: bool = False
    """Recompute the trained blocks' activations instead of keeping them: less memory, more time."""
    save_every: int | str = "10m"
    """Optimizer steps between two checkpoints, or minutes, such as 10m; each epoch ends with one too."""
    resume: bool = False
    """Continue from the newest intact checkpoint in --output-dir."""


@dataclass(frozen=True, kw_only=True)
class TrackedConfig:
    """Flags that the recipes that train one model have in common."""

    tracker: str | None = None
    """Where to log besides the terminal: tensorboard, wandb, … (any tracker of Accelerate)."""


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(AugmentOptions, TrainingConfig):
    """Flags that the recipes of labelled tasks have in common."""

    model: str = "bundled/bert"
    """Checkpoint: bundled/bert, a local directory, or a hub name."""
    pooling: Literal["auto", "first", "mean", "last"] = "auto"
    """What the head reads of a text: its first token, its last, or the mean of all; auto takes what the
    checkpoint declares (sentence-transformers do), else what its usual head reads."""
    train_file: Path | None = None
    """Training data: a csv, tsv, jsonl, json or parquet file."""
    validation_file: Path | None = None
    """Data that the epoch is chosen on; without it a tenth of the training set is taken."""
    test_file: Path | None = None
    """Data that the reported scores come from, and that nothing is chosen on; without it a fifth of the
    training set is taken."""
    epochs: float | None = None
    """Passes over the training set; the default depends on the mode (--mode list) and on the head's start: at
    most 4 after a convex fit, else for most modes 3, or as many as 500 optimizer steps take, at most 20."""
    head: Literal["fit", "start", "random"] | None = None
    """How a new classification head starts: fit (a logistic regression on the states of the checkpoint, which
    is also all that --mode head-only does), start (the same, and head-only trains on from there) or random; by
    default fit, and start if head-only gets --epochs or --learning-rate."""
    layer_decay: float = 1.0
    """Factor of the learning rate from block to block downwards, such as 0.9; the head has the whole rate."""
    l2_sp: float = 0.0
    """Weight of a penalty on the distance to the pretrained weights (L2-SP), such as 0.01."""
    mixout: float = 0.0
    """Probability of a pretrained value in place of a trained one in each training pass, such as 0.1."""
    keep_layers: str | None = None
    """Blocks to keep of the checkpoint, which becomes shallower: a number, such as 6 for the six lowest, or
    the blocks' own numbers, such as 0,2,4; of an encoder-decoder the same of both."""
    reinit_top: int = 0
    """Number of highest blocks that start from random weights."""
    patience: int | None = None
    """Number of epochs without a better validation score after which training stops."""
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """Where to keep the output of frozen blocks, which are then computed once; auto decides whether and where
    (see docs/speed.md)."""
    seeds: int = 1
    """Number of runs, with seeds seed, seed + 1, …; their spread is reported."""
    split_seed: int | None = None
    """Seed for the splits and subsets; by default --seed. All runs of --seeds share it."""
    upstream_text: str | None = None
    """Held-out text (column text) of the kind that the checkpoint was pretrained on, to measure forgetting:
    a file, a folder or a hub name; by default the texts that come with nlptl."""
    max_train_examples: int | None = None
    """Most labels to look at, of training and validation together; of more, a stratified, seeded subset is
    taken, and a tenth of it chooses the epoch."""
    max_eval_examples: int | None = None
    """Most validation examples and most test examples; of more, such subsets are taken."""


@dataclass(frozen=True, kw_only=True)
class ReportedConfig(SupervisedConfig, TrackedConfig):
    """Flags that the recipes that fine-tune one checkpoint have in common."""

    report: Literal["quick", "standard", "full"] | None = None
    """Also report what the pretraining was worth: quick (3 seeds), standard (6 seeds; also --report without a
    value) or full (10 seeds)."""
    curve: bool = False
    """Also train on smaller sets for the report, which show how many labels the pretraining is worth."""
    explain: bool = False
    """Also mark in errors.html the words that speak for and against each of the most confident mistakes."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ReportedConfig):
    """Configuration of a fine-tuning on any task; :func:`with_task` adds the task's own flags."""

    task: str = "text-classification"
    """Task: a registered name, or path/to/file.py:Class; --task NAME --help lists its flags."""
    output_dir: Path = Path("runs/task")
    """Directory of the run."""


@dataclass(frozen=True, kw_only=True)
class SentimentConfig(TextClassificationOptions, ReportedConfig):
    """Configuration of a classification of single texts into any number of classes."""

    output_dir: Path = Path("runs/sentiment")
    """Directory of the run."""


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(ClassifyOptions, ReportedConfig):
    """Configuration of whatever a table of texts is for: classes, several labels, numbers or tags."""

    output_dir: Path = Path("runs/classify")
    """Directory of the run."""


@dataclass(frozen=True, kw_only=True)
class QAConfig(QuestionAnsweringOptions, ReportedConfig):
    """Configuration of question answering by a span of a passage."""

    output_dir: Path = Path("runs/qa")
    """Directory of the run."""


@dataclass(frozen=True, kw_only=True)
class GridConfig(SupervisedConfig):
    """Flags that the recipes that fine-tune many times share; :func:`with_task` adds a task's flags."""

    task: str = "text-classification"
    """Task: a registered name, or path/to/file.py:Class; --task NAME --help lists its flags."""
    seeds: int = 6
    """Number of runs of each arm, with seeds seed, seed + 1, …"""
    resume: bool = False
    """Continue where the study in --output-dir stopped; the same command does so without this flag too."""
    parallel: int = 1
    """Number of processes that run side by side, each with its share of the cores."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig(GridConfig):
    """Configuration of a comparison of checkpoints and modes on one task."""

    model: tuple[str, ...] = ("bundled/bert",)  # type: ignore[assignment]
    """One or more checkpoints: bundled/bert, a local directory, or a hub name."""
    mode: tuple[str, ...] = (  # type: ignore[assignment]
        "head-only",
        "freeze-lower-8",
        "full",
        "lora",
    )
    """One or more modes; --mode list prints all modes."""
    method: tuple[str, ...] = ("finetune",)
    """One or more methods: finetune, or path/to/file.py:name."""
    output_dir: Path = Path("runs/compare")
    """Directory of the comparison."""


@dataclass(frozen=True, kw_only=True)
class UpstreamCurveConfig(GridConfig):
    """Configuration of a curve of downstream score against upstream loss."""

    model: tuple[str, ...] = ("runs/pretrain",)  # type: ignore[assignment]
    """Four or more checkpoints of one architecture, or the directory of a run of nlptl run pretrain with
    --keep N."""
    seeds: int = 3
    """Number of runs of each checkpoint, with seeds seed, seed + 1, …"""
    output_dir: Path = Path("runs/upstream_curve")
    """Directory of the curve."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig, TrackedConfig):
    """Configuration of a pretraining, from scratch or from a checkpoint."""

    corpus: tuple[str, ...] = ("bundled/reviews/unlabelled.jsonl",)
    """Texts without labels, name[:weight]: files (parquet, jsonl, json, csv, tsv, or txt with one document
    per line), folders of such files, bundled/reviews/unlabelled.jsonl, hub names (name or name:config)."""
    text_column: str = "text"
    """Column that holds the documents; a .txt file holds one document per line."""
    model: str | None = None
    """Checkpoint to continue from; by default bundled/bert. Any of --architecture, --tokenizer, --width,
    --positions, --vocab-size and --warm-start asks for a new model from scratch instead."""
    learning_rate: float | None = None  # type: ignore[assignment]
    """Peak learning rate; by default 0.001 (AdamW) or 0.02 (Adafactor) for a new model; for a checkpoint the
    default depends on the mode and the model family (see docs/modes.md)."""
    max_length: int | None = None
    """Tokens per piece of text; by default 128, or fewer if the model takes fewer."""
    objective: Literal["auto", "masked-lm", "span-corruption", "recurring-spans"] = "auto"
    """Pretraining objective; auto takes span corruption for T5, else masked language modelling.
    recurring-spans teaches a checkpoint to point at answers, for nlptl run qa with few questions."""
    architecture: str | None = None
    """Architecture of a model from scratch: a family (bert, the default; roberta or t5), or a configuration
    (the path of a config.json, a checkpoint or a hub name), which --depth and --positions override."""
    tokenizer: str | None = None
    """Checkpoint whose tokenizer is taken; by default a new one is trained (WordPiece for bert, byte-level
    BPE for roberta, Unigram for t5)."""
    depth: int | None = None
    """Number of blocks (of T5's encoder), 12 by default. With --model, a multiple of the checkpoint's number:
    the model grows to that depth, and computes the same as before at first."""
    width: int | None = None
    """Hidden size of a model from scratch, a multiple of 32; 128 by default."""
    positions: int | None = None
    """Longest input of a model from scratch, in tokens; 256 by default, and for T5 --max-length if that is
    more."""
    vocab_size: int | None = None
    """Number of entries of a vocabulary that is trained from scratch; 8192 by default."""
    warm_start: bool = False
    """Start a model from scratch from token and pair counts instead of random embeddings; with --teacher, from
    the word vectors whose mean over a piece of text best predicts the teacher's states of that piece."""
    optimizer: Literal["auto", "adamw", "adafactor"] = "auto"
    """Optimizer; auto takes Adafactor for T5 except under LoRA, else AdamW."""
    steps: int | None = None
    """Number of optimizer steps; by default 10,000, and with --model at most as many as five epochs take."""
    epochs: float | None = None
    """Passes over the corpus, instead of --steps."""
    mask_share: float = 0.15
    """Share of the tokens to predict."""
    masked_weight: float | None = None
    """Weight of masked language modelling beside recurring-spans, so that it is not forgotten; 1 by default,
    and 0 leaves it out."""
    whole_words: bool = False
    """Mask whole words instead of single tokens (masked language modelling only)."""
    bag_weight: float = 0.0
    """Weight of a second loss, under which the first token's state must predict the words of the whole text,
    so that this state is of use to classifiers (Ma et al., 2024)."""
    teacher: str | None = None
    """Stronger checkpoint, such as a sentence encoder, to learn from: the model also predicts its mean state
    of each piece of text at its middle block and at its last."""
    teacher_weight: float = 3.0
    """Weight of the loss that --teacher adds."""
    start_share: float = 0.0
    """Share of the weights of --model in the saved model, such as 0.5, which keeps more of what that
    checkpoint knew (WiSE-FT, Wortsman et al., 2022)."""
    dropout: float = 0.0
    """Dropout rate while pretraining; the saved configuration keeps the family's usual rate."""
    held_out: int | None = None
    """Number of documents set aside to measure the held-out loss; by default a tenth, at most 2,000."""
    max_train_examples: int | None = None
    """Most documents to train on; of more, a seeded subset is taken."""
    max_eval_examples: int | None = None
    """Most of the documents set aside to score on."""
    eval_every: int = 1000
    """Optimizer steps between two measurements of the held-out loss."""
    keep: int = 0
    """Number of models to keep under models/ at log-spaced steps, besides the start; plain transformers opens
    each of them."""
    output_dir: Path = Path("runs/pretrain")
    """Directory of the run: model/, log.jsonl, checkpoints/ and the rest."""


@cache
def with_options(cls: type[C], options: type) -> type[C]:
    """Return a configuration with a task's flags beside its own; where both have a flag, the task's counts."""
    made: Any = dataclasses.make_dataclass(
        cls.__name__, [], bases=(options, cls), frozen=True, kw_only=True
    )
    made.__doc__, made.__module__ = cls.__doc__, cls.__module__
    return made


def with_task(cls: type[C], task: str) -> type[C]:
    """Return a configuration with the flags of a task, which is given by name.

    Raises:
        ConfigError: If there is no such task.
    """
    return with_options(cls, options_of(task))


def parse_args(cls: type[C], argv: Sequence[str] | None = None, *, description: str = "") -> C:
    """Read the flags, and the YAML file of ``--config``; flags on the command line win.

    Both spellings, ``--output-dir`` and ``--output_dir``, work.

    Raises:
        UserError: With all flags that do not exist and all values of the wrong type, on the command line and
            in the file; or if the file is missing or damaged.
        SystemExit: After ``--help`` and ``--mode list``, and with code 2 for whatever else the parser refuses.
    """
    import tyro

    argv = list(sys.argv[1:] if argv is None else argv)
    check_written(argv)
    if "mode" in declared_types(cls) and _asks_for_modes(argv):
        _print_modes()
    argv, path = _take_config(_whole_report(argv))
    if "task" in declared_types(cls):
        cls = with_task(cls, _named_task(cls, argv, path))
    if HELP & {*argv}:
        _print_help(cls, description)
    problems, values = Problems(), {}
    problems.run(check_words, cls, argv)
    if path:
        values = problems.run(load_yaml, cls, path)
    problems.raise_if_any()
    default: Any = cls(**values) if values else None
    parsed: Any = tyro.cli(cls, args=argv, default=default)
    return parsed


def _print_help(cls: type, description: str) -> NoReturn:
    from nlptl.cli.help import flags_of, grouped, print_help

    if is_main_process():
        usage = [
            *words_of_program(sys.argv[0]),
            *(["train"] if sys.argv[1:2] == ["train"] else []),
            "[flags]",
        ]
        print_help(grouped(flags_of(cls)), " ".join(usage), description or cls.__doc__ or "")
    raise SystemExit(0)


def _asks_for_modes(argv: Sequence[str]) -> bool:
    """Whether the command line has ``--mode list``."""
    pairs = pairwise(argv)
    return "--mode=list" in argv or ("--mode", "list") in pairs


def _print_modes() -> NoReturn:
    from nlptl.modes.listing import describe_modes

    if is_main_process():
        print(describe_modes())  # noqa: T201
    raise SystemExit(0)


def _whole_report(argv: list[str]) -> list[str]:
    """Turn ``--report`` without a value into ``--report standard``."""
    if "--report" not in argv:
        return argv
    at = argv.index("--report") + 1
    alone = at == len(argv) or argv[at].startswith("--")
    return [*argv[:at], "standard", *argv[at:]] if alone else argv


def _named_task(cls: Any, argv: Sequence[str], path: Path | None) -> str:
    """Return the task that the command line names, or else the file, or else the configuration."""
    for flag, words in flag_groups(argv):
        if flag == "--task" and words:
            return words[0]
    written = read_yaml(path).get("task", cls.task) if path else cls.task
    return written if isinstance(written, str) else cls.task


def _take_config(argv: list[str]) -> tuple[list[str], Path | None]:
    for position, word in enumerate(argv):
        if word == "--config":
            if position + 1 == len(argv):
                raise ConfigError("--config needs the path of a YAML file.")
            return argv[:position] + argv[position + 2 :], Path(argv[position + 1])
        if word.startswith("--config="):
            return argv[:position] + argv[position + 1 :], Path(word.removeprefix("--config="))
    return argv, None


def load_yaml(cls: type, path: Path) -> dict[str, Any]:
    """Read a YAML file as keyword arguments of a configuration; data that a run keeps are found beside it.

    Raises:
        ConfigError: If the file cannot be read; or with all unknown keys, with suggestions, and all values
            whose type is not the flag's.
    """
    values = read_yaml(path)
    types, problems = declared_types(cls), Problems()
    for key in [key for key in values if key not in types]:
        problems.add(
            f"--config {path} has the unknown key '{shortened(key)}'.{suggest(key, list(types))} "
            f"Known: {listed(sorted(types))}."
        )
        del values[key]
    for key, value in values.items():
        try:
            values[key] = from_yaml(value, types[key])
        except ValueError as error:
            problems.add(f"--config {path}: {key} is {shortened(repr(value))}; expected {error}.")
    problems.raise_if_any()
    return with_own_files(values, path.parent)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file as a mapping from flags to values.

    Raises:
        ConfigError: If it cannot be read, or is no such file.
    """
    import yaml

    from nlptl.cli.plain_yaml import plain_yaml

    if not path.is_file():
        raise ConfigError(f"--config: there is no file {path}.")
    try:
        values = plain_yaml(path.read_text(encoding="utf-8")) or {}
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--config {path}: expected a text file in UTF-8, found other bytes ({error.reason} at byte "
            f"{error.start}). Save it as UTF-8."
        ) from error
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        reason = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else shortened(str(error))
        )
        raise ConfigError(f"--config {path} is not valid YAML: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"--config {path}: expected 'flag: value' lines, found a {type(values).__name__}."
        )
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def to_yaml(config: Any) -> str:
    """Write a configuration so that ``--config`` takes it back."""
    import yaml

    values = dataclasses.asdict(config)
    plain = {
        k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v
        for k, v in values.items()
    }
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def run_recipe(main: Callable[[C], Any], cls: type[C], description: str | None) -> None:
    """Parse the command line and run a recipe; see :func:`nlptl.cli.ending.exit_codes`."""
    with exit_codes():
        config = parse_args(cls, description=description or "")
        with waiting("starting"):  # seconds before the first line
            for library in ("torch", "transformers"):
                import_module(library)
        main(config)
