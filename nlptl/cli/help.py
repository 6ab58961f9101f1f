"""``--help``: flags in groups, each with its type and default in words; nothing heavy is imported for it."""

import ast
import dataclasses
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from nlptl.cli.values import UNIONS
from nlptl.tasks.options import TaskOptions
from nlptl.train.terminal import NAMES, USUAL, painted

#: Titles of the groups, and their flags in the order in which one needs them.
GROUPS: dict[str, tuple[str, ...]] = {
    "data": (
        *("dataset", "corpus", "train_file", "validation_file", "test_file", "task", "kind"),
        *("text_column", "label_column", "id_column", "question_column", "context_column"),
        *("answers_column", "column", "max_length", "stride", "max_train_examples"),
        *("max_eval_examples", "held_out", "split_seed", "squad_version"),
    ),
    "model and mode": (
        *("model", "mode", "method", "pooling", "head", "precision", "lora_rank", "lora_alpha"),
        *("lora_dropout", "lora_targets", "keep_layers", "reinit_top", "objective"),
        *("architecture", "tokenizer", "depth", "width", "positions", "vocab_size", "warm_start"),
        *("teacher", "teacher_weight", "start_share"),
    ),
    "training": (
        *("epochs", "steps", "learning_rate", "batch_size", "gradient_accumulation_steps"),
        *("schedule", "warmup", "weight_decay", "layer_decay", "max_grad_norm", "patience"),
        *("augment", "augment_alpha", "augment_copies"),
        *("class_weights", "l2_sp", "mixout", "dropout", "optimizer", "mask_share"),
        *("whole_words", "bag_weight", "gradient_checkpointing", "compile", "cache"),
    ),
    "run": (
        *("output_dir", "seed", "seeds", "parallel", "resume", "save_every", "eval_every"),
        *("keep", "tracker", "config", "help"),
    ),
    "report": ("report", "curve", "upstream_text", "explain"),
}
#: Title of the flags that belong to a task or a method.
OTHERS = "task and method"
#: Characters before the text of a flag.
MARGIN = 26


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag as help shows it.

    Attributes:
        name: Name of the field.
        takes: What it takes, in words; empty for nothing.
        text: What it does.
        default: Its default in words; empty where the text says it, or where there is none.
        group: Title of its group, where :data:`GROUPS` does not name it.
    """

    name: str
    takes: str
    text: str
    default: str = ""
    group: str = OTHERS

    @property
    def spelled(self) -> str:
        """The flag as one types it."""
        dashed = self.name.replace("_", "-")
        return f"--{dashed} {self.takes}".rstrip()


#: Flags that are no fields.
ALWAYS = (
    Flag(
        "config",
        "FILE",
        "YAML file with flags, such as a run's config.yaml; the command line wins.",
    ),
    Flag("help", "", "Show this help."),
)


def print_help(groups: Mapping[str, Sequence[Flag]], usage: str, description: str) -> None:
    """Print the help of a command.

    Args:
        groups: Title of a group to its flags.
        usage: The command, as one types it.
        description: What it does; lines with a margin are commands.
    """
    print("\n".join(help_lines(groups, usage, description)))  # noqa: T201


def spoken(name: str) -> str:
    """Return a recipe's name as it is typed: with hyphens."""
    return name.replace("_", "-")


def as_typed(text: str, usage: str) -> str:
    """Write the commands of a recipe's docstring as its reader types them: a wheel has no ``recipes/``.

    Example:
        >>> as_typed("python recipes/few_shot.py --shots 8", "nlptl run few-shot [flags]")
        'nlptl run few-shot --shots 8'
    """
    if not usage.startswith("nlptl run"):
        return text
    return re.sub(
        r"(?:accelerate launch|python) recipes/(\w+)\.py",
        lambda found: f"nlptl run {spoken(found[1])}",
        text,
    )


def help_lines(groups: Mapping[str, Sequence[Flag]], usage: str, description: str) -> Iterator[str]:
    """Yield the lines of a command's help.

    Args:
        groups: Title of a group to its flags.
        usage: The command, as one types it.
        description: What it does; lines with a margin are commands.
    """
    yield painted("usage:", NAMES) + f" {usage}"
    yield ""
    yield from _described(as_typed(description.strip(), usage))
    for title, members in groups.items():
        yield ""
        yield painted(title, NAMES)
        for flag in members:
            yield from _flag_lines(flag)


def grouped(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    """Sort flags into :data:`GROUPS`, the rest into a group of their own; empty groups are left out."""
    known = {flag.name: flag for flag in flags}
    found = {title: [known[n] for n in names if n in known] for title, names in GROUPS.items()}
    listed = {name for names in GROUPS.values() for name in names}
    order = [*list(GROUPS)[:3], OTHERS, *list(GROUPS)[3:]]
    rest = [flag for flag in flags if flag.name not in listed]
    each = {
        title: [*found.get(title, ()), *(flag for flag in rest if flag.group == title)]
        for title in order
    }
    return {title: members for title, members in each.items() if members}


def _columns() -> int:
    return min(100, shutil.get_terminal_size((USUAL, 24)).columns)


def _described(text: str) -> Iterator[str]:
    """Yield a description at the width of the help; a long command goes on after a backslash."""
    for number, part in enumerate(text.split("\n\n")):
        if number:
            yield ""
        lines = part.split("\n") if part.startswith(" ") else [" ".join(part.split())]
        for line in lines:
            margin = " " * (len(line) - len(line.lstrip()))
            end = " \\" * bool(margin)
            wrapped = [line]
            if len(line) > _columns():
                wrapped = textwrap.wrap(
                    line.strip(),
                    _columns() - len(end),
                    initial_indent=margin,
                    subsequent_indent=2 * margin,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            yield (end + "\n").join(wrapped)


def _flag_lines(flag: Flag) -> Iterator[str]:
    columns = _columns()
    text = flag.text + f" Default: {flag.default}." * bool(flag.default)
    lines = textwrap.wrap(text, columns - MARGIN, break_long_words=False, break_on_hyphens=False)
    begin = f"  {flag.spelled}"
    name = painted(begin, "bold")
    if len(begin) > MARGIN - 2 or not lines:
        yield name
    else:
        yield name + " " * (MARGIN - len(begin)) + lines.pop(0)
    yield from (" " * MARGIN + line for line in lines)


def flags_of(cls: type, defaults: Mapping[str, Any] | None = None) -> list[Flag]:
    """List the flags of a configuration, with ``--config`` and ``--help``.

    Args:
        cls: A dataclass; the text below a field is its help.
        defaults: Values that another place gives, such as a file.
    """
    texts, hints = field_texts(cls), get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        default = (defaults or {}).get(field.name, field.default)
        words = takes(hints[field.name]), texts.get(field.name, ""), in_words(default)
        home = next(k for k in cls.__mro__ if field.name in inspect.get_annotations(k))
        group = OTHERS if issubclass(home, TaskOptions) else "training"
        found.append(Flag(field.name, *words, group))
    return [*found, *ALWAYS]


def flags_of_function(function: Callable[..., Any]) -> tuple[list[Flag], list[Flag]]:
    """List the positional arguments and the flags of a function, with the texts of its docstring.

    Args:
        function: A function with annotations and a docstring with ``Args:``.
    """
    from docstring_parser import parse

    texts = {
        one.arg_name: one.description or "" for one in parse(inspect.getdoc(function) or "").params
    }
    hints = get_type_hints(function, include_extras=True)
    positional, flags = [], []
    for name, about in inspect.signature(function).parameters.items():
        text = " ".join(texts.get(name, "").split())
        first = about.kind is about.POSITIONAL_ONLY
        default = "" if about.default is about.empty else in_words(about.default)
        (positional if first else flags).append(Flag(name, takes(hints[name]), text, default))
    return positional, [*flags, ALWAYS[1]]


def takes(declared: Any) -> str:
    """Return what a flag of a type takes, in words.

    Example:
        >>> takes(int | None), takes(Literal["a", "b"]), takes(tuple[str, ...]), takes(bool)
        ('NUMBER', 'a|b', 'TEXT ...', '')
    """
    if get_origin(declared) is Annotated:
        return takes(get_args(declared)[0])
    if get_origin(declared) in UNIONS:
        each = [takes(one) for one in get_args(declared) if one is not NoneType]
        return "|".join(dict.fromkeys(each))
    if get_origin(declared) is Literal:
        return "|".join(map(str, get_args(declared)))
    if get_origin(declared) is tuple:
        return f"{takes(get_args(declared)[0])} ..."
    return {int: "NUMBER", float: "NUMBER", bool: "", Path: "PATH"}.get(declared, "TEXT")


def in_words(default: Any) -> str:
    """Write a default; empty for none and for what is switched off."""
    if default is None or default is False or default is dataclasses.MISSING or default == ():
        return ""
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def field_texts(cls: type) -> dict[str, str]:
    """Map the names of a dataclass's fields to the texts below them, its own before its bases'."""
    found: dict[str, str] = {}
    for kind in reversed(cls.__mro__):
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source and dataclasses.is_dataclass(kind):
            found |= _texts_in(source).get(kind.__qualname__, {})
    return found


@cache
def _texts_in(source: str) -> dict[str, dict[str, str]]:
    """Map the classes of a file to their fields' texts."""
    return {
        node.name: dict(_texts_of(node))
        for node in ast.parse(Path(source).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }


def _texts_of(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            yield field.target.id, " ".join(str(below.value.value).split())
