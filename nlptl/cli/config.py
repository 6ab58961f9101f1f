"""The command line, the YAML file and the saved run record: one dataclass a recipe.

A field's text stands once, under the field; ``--help`` prints it. Configuration stops at the
recipe: what lies below takes plain arguments.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from nlptl.cli.declared import check_words, declared_types, flag_groups, from_yaml
from nlptl.errors import ConfigError, Problems, UserError, listed, suggest
from nlptl.tasks import options_of
from nlptl.tasks.options import QuestionAnsweringOptions, TextClassificationOptions
from nlptl.train.terminal import is_main_process

C = TypeVar("C")
#: ``--config`` is no field of a configuration, so ``--help`` would not name it.
CONFIG_HELP = "--config FILE takes flags from a YAML file, such as a run's config.yaml; flags on the line win."


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every recipe that trains has in common."""

    mode: str = "full"
    """What trains, such as full or freeze-lower-8; --mode list prints all modes."""
    batch_size: int = 16
    """Examples a batch, over all processes."""
    gradient_accumulation_steps: int = 1
    """Batches an optimizer step; k of them equal one batch k times as large."""
    learning_rate: float | None = None
    """Peak rate; by default the mode's and the family's own (see the README)."""
    warmup: float = 0.1
    """Steps of rising rate: a share of all below 1, a count from 1 on."""
    weight_decay: float = 0.01
    """AdamW's decay; never on biases and norms."""
    max_grad_norm: float = 1.0
    """Gradient clipping by global norm; 0 for none."""
    max_length: int | None = None
    """Tokens a text at most; longer ones are cut. By default what the model takes, at most 512."""
    seed: int = 0
    """Of the head, the order, dropout, and every split."""
    lora_rank: int | None = None
    """Rank of LoRA's update, 8 by default."""
    lora_alpha: float | None = None
    """Numerator of LoRA's scale alpha / rank, twice the rank by default."""
    lora_targets: tuple[str, ...] = ()
    """Linear layers that get an adapter, such as query value, or all-linear; by default the query and
    value projections."""
    compile: bool = False
    """Compile the model (torch.compile); pays on GPUs and long runs, seldom on CPUs."""
    gradient_checkpointing: bool = False
    """Compute the trained blocks' activations twice instead of keeping them: less memory, more time."""
    resume: bool = False
    """Go on from the newest whole checkpoint in --output-dir."""


@dataclass(frozen=True, kw_only=True)
class TrackedConfig:
    """What the recipes that train one model have in common."""

    tracker: str | None = None
    """Where to log besides the terminal: tensorboard, wandb, … (any tracker of Accelerate)."""


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(TrainingConfig):
    """What the recipes of labelled tasks have in common."""

    model: str = "bundled/bert"
    """Checkpoint: bundled/bert, a local directory, or a hub name."""
    train_file: Path | None = None
    """Training data: csv, tsv, jsonl, json or parquet."""
    validation_file: Path | None = None
    """Data that chooses the epoch; without it a tenth of the training set is taken."""
    test_file: Path | None = None
    """Data that is reported, and never chosen on; without it a fifth of the training set is taken."""
    epochs: float | None = None
    """Passes over the training set; by default the mode's own (--mode list): 3, or as many as 500 steps
    take, at most 20, for most."""
    patience: int | None = None
    """Stop after so many epochs without a better validation score."""
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """Compute frozen blocks once and keep their output: auto decides whether and where (README)."""
    seeds: int = 1
    """Runs, with seeds seed, seed + 1, …; the spread is reported."""
    split_seed: int | None = None
    """Of the splits and subsets that are drawn; by default --seed. All runs of --seeds share one."""
    upstream_text: str | None = None
    """Held-out text (column text) of the kind that the checkpoint was pretrained on, for measuring forgetting:
    a file, a folder or a hub name; by default texts that come with nlptl."""
    max_train_examples: int | None = None
    """Train on a stratified, seeded subset of so many examples."""
    max_eval_examples: int | None = None
    """Validate and test on such subsets."""


@dataclass(frozen=True, kw_only=True)
class ReportedConfig(SupervisedConfig, TrackedConfig):
    """What the recipes that fine-tune one checkpoint have in common."""

    report: Literal["quick", "standard", "full"] | None = None
    """Also report what the pretraining was worth: quick (3 seeds), standard (6; --report alone), full (10)."""
    curve: bool = False
    """In the report, also smaller training sets: how many labels the pretraining is worth."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ReportedConfig):
    """Fine-tune on any task; :func:`with_task` adds the task's own flags."""

    task: str = "text-classification"
    """The task: a registered name, or path/to/file.py:Class; --task NAME --help lists its flags."""
    output_dir: Path = Path("runs/task")
    """Where the run goes."""


@dataclass(frozen=True, kw_only=True)
class SentimentConfig(TextClassificationOptions, ReportedConfig):
    """Classify single texts into any number of classes."""

    output_dir: Path = Path("runs/sentiment")
    """Where the run goes."""


@dataclass(frozen=True, kw_only=True)
class QAConfig(QuestionAnsweringOptions, ReportedConfig):
    """Answer questions by a span of a passage."""

    output_dir: Path = Path("runs/qa")
    """Where the run goes."""


@dataclass(frozen=True, kw_only=True)
class GridConfig(SupervisedConfig):
    """What the recipes that fine-tune many times have in common; :func:`with_task` adds a task's flags."""

    task: str = "text-classification"
    """The task: a registered name, or path/to/file.py:Class; --task NAME --help lists its flags."""
    seeds: int = 6
    """Runs of each, with seeds seed, seed + 1, …"""
    resume: bool = False
    """Go on where --output-dir stopped, which the same command does without it too."""
    parallel: int = 1
    """Processes that run side by side, each with its share of the cores."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig(GridConfig):
    """Compare checkpoints and modes on one task."""

    model: tuple[str, ...] = ("bundled/bert",)  # type: ignore[assignment]
    """One or more checkpoints: bundled/bert, a local directory, or a hub name."""
    mode: tuple[str, ...] = (  # type: ignore[assignment]
        "head-only",
        "freeze-lower-8",
        "full",
        "lora",
    )
    """One or more modes; --mode list prints all."""
    method: tuple[str, ...] = ("finetune",)
    """One or more methods: finetune, or path/to/file.py:name."""
    output_dir: Path = Path("runs/compare")
    """Where the comparison goes."""


@dataclass(frozen=True, kw_only=True)
class UpstreamCurveConfig(GridConfig):
    """Downstream score against upstream loss, over checkpoints of one architecture."""

    model: tuple[str, ...] = ("runs/pretrain",)  # type: ignore[assignment]
    """Four or more checkpoints, or the directory of a run of recipes/pretrain.py --keep N."""
    seeds: int = 3
    """Runs of each, with seeds seed, seed + 1, …"""
    output_dir: Path = Path("runs/upstream_curve")
    """Where the curve goes."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig, TrackedConfig):
    """Pretrain from scratch, or go on from a checkpoint."""

    corpus: tuple[str, ...] = ("bundled/reviews/unlabelled.jsonl",)
    """Texts without labels, name[:weight]: files (parquet, jsonl, json, csv, tsv; txt holds a document a
    line), folders of such files, bundled/reviews/unlabelled.jsonl, hub names (name or name:config)."""
    text_column: str = "text"
    """The column that holds a document; a .txt holds one a line."""
    model: str | None = None
    """Checkpoint to go on from, by default bundled/bert. A new model, from scratch, is asked for by any of
    --architecture, --tokenizer, --width, --positions, --vocab-size, --warm-start."""
    learning_rate: float | None = None
    """Peak rate; by default of a new model 0.001 (AdamW) or 0.02 (Adafactor), of a checkpoint that goes on the
    mode's and the family's own (see the README)."""
    max_length: int | None = None
    """Tokens a piece of text; by default 128, or what the model takes."""
    objective: Literal["auto", "masked-lm", "span-corruption"] = "auto"
    """What is predicted; auto takes span corruption for T5, else masked language modelling."""
    architecture: str | None = None
    """Of a model from scratch: a family (bert, by default; roberta, t5), or a configuration: the path of a
    config.json, a checkpoint, or a hub name. --depth and --positions go before what it says."""
    tokenizer: str | None = None
    """Take this checkpoint's tokenizer instead of training one (WordPiece for bert, byte-level BPE for
    roberta, Unigram for t5)."""
    depth: int | None = None
    """Blocks, 12 by default (T5: of the encoder). Of a checkpoint, a multiple of those it has: it grows, and
    computes the same at first."""
    width: int | None = None
    """Hidden size of a model from scratch, a multiple of 32; 128 by default."""
    positions: int | None = None
    """Longest input of a model from scratch, in tokens; 256 by default, and for a T5 --max-length if that is
    more."""
    vocab_size: int | None = None
    """Entries of a vocabulary trained from scratch, 8192 by default."""
    warm_start: bool = False
    """Start a model from scratch from token and pair counts instead of random embeddings; with --teacher, from
    the word vectors whose mean over a piece of text tells the teacher's states of it best."""
    optimizer: Literal["auto", "adamw", "adafactor"] = "auto"
    """Auto takes Adafactor for T5, but for LoRA, else AdamW."""
    steps: int | None = None
    """Optimizer steps in all; by default 10,000, or as many as five epochs take if a checkpoint goes on and
    these are fewer."""
    epochs: float | None = None
    """Passes over the corpus, instead of --steps."""
    mask_share: float = 0.15
    """Share of the tokens to predict."""
    whole_words: bool = False
    """Mask whole words instead of tokens (masked LM)."""
    bag_weight: float = 0.0
    """Weight of a second loss: the first token's state must predict the words of the whole text, so that
    classifiers find something there (Ma et al., 2024)."""
    teacher: str | None = None
    """A stronger checkpoint, such as a sentence encoder: its mean state of each piece of text, at its middle
    and last block, is predicted too."""
    teacher_weight: float = 3.0
    """Weight of that loss, with --teacher."""
    start_share: float = 0.0
    """With --model: share of its weights in the saved model, for instance 0.5, which keeps more of what it
    knew (WiSE-FT, Wortsman et al., 2022)."""
    dropout: float = 0.0
    """Dropout while pretraining; the saved configuration keeps the family's usual rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the rate after warm-up."""
    held_out: int | None = None
    """Documents set aside to measure the held-out loss; by default a tenth, at most 2,000."""
    max_train_examples: int | None = None
    """Train on a seeded subset of so many documents."""
    max_eval_examples: int | None = None
    """Score on so many of the documents set aside."""
    eval_every: int = 1000
    """Steps between held-out losses."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 0
    """Models to keep under models/ at log-spaced steps, besides the start; each opens with plain
    transformers."""
    output_dir: Path = Path("runs/pretrain")
    """Where model/, log.jsonl and checkpoints/ go."""


@cache
def with_options(cls: type[C], options: type) -> type[C]:
    """A configuration with a task's own flags beside its own; of two of one name the task's counts."""
    made: Any = dataclasses.make_dataclass(
        cls.__name__, [], bases=(options, cls), frozen=True, kw_only=True
    )
    made.__doc__, made.__module__ = cls.__doc__, cls.__module__
    return made


def with_task(cls: type[C], task: str) -> type[C]:
    """A configuration with the flags of a task by its name.

    Raises:
        ConfigError: If there is no such task.
    """
    return with_options(cls, options_of(task))


def parse_args(cls: type[C], argv: Sequence[str] | None = None, *, description: str = "") -> C:
    """Read flags, and the YAML file behind ``--config``; flags on the line win.

    Both spellings, ``--output-dir`` and ``--output_dir``, work.

    Raises:
        UserError: With all flags that do not exist and all values of the wrong type, on the line and in the
            file; or if the file is missing or damaged.
        SystemExit: After ``--help`` and ``--mode list``, and with code 2 for what the parser refuses besides.
    """
    import tyro

    argv = list(sys.argv[1:] if argv is None else argv)
    if "mode" in declared_types(cls) and _asks_for_modes(argv):
        _print_modes()
    argv, path = _take_config(_whole_report(argv))
    if "task" in declared_types(cls):
        cls = with_task(cls, _named_task(cls, argv, path))
    problems, values = Problems(), {}
    if not {"-h", "--help"} & {*argv}:
        problems.run(check_words, cls, argv)
    if path:
        values = problems.run(load_yaml, cls, path)
    problems.raise_if_any()
    default: Any = cls(**values) if values else None
    text = f"{description.strip()}\n\n{CONFIG_HELP}"
    parsed: Any = tyro.cli(cls, args=argv, default=default, description=text)
    return parsed


def _asks_for_modes(argv: Sequence[str]) -> bool:
    """Whether ``--mode`` is given ``list``."""
    pairs = pairwise(argv)
    return "--mode=list" in argv or ("--mode", "list") in pairs


def _print_modes() -> NoReturn:
    from nlptl.modes.listing import describe_modes

    if is_main_process():
        print(describe_modes())  # noqa: T201
    raise SystemExit(0)


def _whole_report(argv: list[str]) -> list[str]:
    """``--report`` alone means the standard one."""
    if "--report" not in argv:
        return argv
    at = argv.index("--report") + 1
    alone = at == len(argv) or argv[at].startswith("--")
    return [*argv[:at], "standard", *argv[at:]] if alone else argv


def _named_task(cls: Any, argv: Sequence[str], path: Path | None) -> str:
    """The task that a command line, else a file, else the configuration names."""
    for flag, words in flag_groups(argv):
        if flag == "--task" and words:
            return words[0]
    written = _read_yaml(path).get("task", cls.task) if path else cls.task
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
    """Read a YAML file as keyword arguments of a configuration.

    Raises:
        ConfigError: If it cannot be read; or naming all unknown keys, with suggestions, and all values of
            another type than the flag's.
    """
    values = _read_yaml(path)
    types, problems = declared_types(cls), Problems()
    for key in [key for key in values if key not in types]:
        problems.add(
            f"--config {path} has the unknown key '{key}'.{suggest(key, list(types))} "
            f"Known: {listed(sorted(types))}."
        )
        del values[key]
    for key, value in values.items():
        try:
            values[key] = from_yaml(value, types[key])
        except ValueError as error:
            problems.add(f"--config {path}: {key} is {value!r}; expected {error}.")
    problems.raise_if_any()
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise ConfigError(f"--config: there is no file {path}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, OSError) as error:
        raise ConfigError(f"--config {path} is no valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--config {path}: expected a text file in UTF-8, found other bytes ({error.reason} at byte "
            f"{error.start}). Save it as UTF-8."
        ) from error
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


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn a user error into one paragraph on standard error and exit code 2."""
    try:
        yield
    except UserError as error:
        # All processes find the same mistake before they are one group; afterwards it may be one's own.
        if is_main_process() or _one_of_a_group():
            print(f"\nerror: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


def _one_of_a_group() -> bool:
    found = sys.modules.get("torch.distributed")  # importing it would take a second
    return bool(found and found.is_available() and found.is_initialized())


def run_recipe(main: Callable[[C], Any], cls: type[C], description: str | None) -> None:
    """Parse the command line and run a recipe; see :func:`exit_codes`."""
    with exit_codes():
        main(parse_args(cls, description=description or ""))
