"""Values of flags: their types, from YAML or the command line, and the ranges of numbers."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nlptl.data.augment import options as augment
from nlptl.data.text import can_be_written
from nlptl.errors import ConfigError, Problems, listed, shortened, suggest
from nlptl.train.intervals import interval_of

#: Origins of ``X | Y``: Python has one for classes and one for the types of typing.
UNIONS = (Union, UnionType)
#: What a text of a flag has to be, for messages; a file's name in another encoding is none.
WRITTEN = "characters that UTF-8 can write, found other bytes: rename the file or folder"
#: Names of the types in messages.
IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def declared_types(cls: type) -> dict[str, Any]:
    """Map the names of a dataclass's fields to their types."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def from_yaml(value: Any, declared: Any) -> Any:
    """Convert a value from YAML to a field's type.

    Types are ``str``, ``int``, ``float``, ``bool``, ``Path``, a ``Literal`` of texts, ``tuple[str, ...]``,
    each of these or None, and one of several.

    Example:
        >>> from_yaml("1e-4", float | None), from_yaml(["a"], tuple[str, ...])
        (0.0001, ('a',))

    Raises:
        ValueError: Saying what was expected.
    """
    base, optional = _base(declared)
    if value is None and optional:
        return None
    if not all(can_be_written(one) for one in _texts(value)):
        raise ValueError(WRITTEN)
    for one in get_args(base) if get_origin(base) in UNIONS else ():
        with suppress(ValueError):
            return from_yaml(value, one)
    if get_origin(base) is Literal:
        # YAML 1.1 reads off as false, and 2.0 as a number.
        word = {False: "off", True: "on"}[value] if isinstance(value, bool) else str(value)
        if word in get_args(base):
            return word
    elif get_origin(base) is tuple:
        each = value if isinstance(value, list) else [value]
        if all(isinstance(one, str) for one in each):
            return tuple(each)
        if all(isinstance(one, str | int | float) for one in each):
            raise ValueError(f"{expected(base)}, such as {[str(one) for one in each]}")
    elif base is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-4 as text
            return float(value)
    elif base is Path and isinstance(value, str):
        return Path(value)
    elif type(value) is base:
        return value
    raise ValueError(expected(base))


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def expected(base: Any) -> str:
    """Return a type in words."""
    if get_origin(base) in UNIONS:
        return " or ".join(expected(one) for one in get_args(base))
    if get_origin(base) is Literal:
        words = listed(get_args(base))
        return f"one of {words}" if "," in words else f"'{words}'"
    if get_origin(base) is tuple:
        return "a list of texts"
    return IN_WORDS.get(base, "a path")


def _base(declared: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether None was in it."""
    kinds = get_args(declared)
    if NoneType not in kinds:
        return declared, False
    return reduce(or_, (kind for kind in kinds if kind is not NoneType)), True


def check_written(argv: Sequence[str]) -> None:
    """Make sure that UTF-8 can write a command line, as a run does with the names of its files.

    Raises:
        UserError: With all words that it cannot write: names of files in another encoding.
    """
    problems = Problems()
    for flag, words in flag_groups(argv):
        for word in [flag, *words]:
            if not can_be_written(word):
                shown = shortened(word.encode("utf-8", "backslashreplace").decode())
                problems.add(f"{f'{flag} is ' * (word != flag)}{shown}; expected {WRITTEN}.")
    problems.raise_if_any()


def check_words(cls: type, argv: Sequence[str]) -> None:
    """Check a command line before it is parsed, because the parser stops at the first kind of mistake.

    Args:
        cls: The configuration.
        argv: Flags and their values, without ``--config``.

    Raises:
        UserError: With all unknown flags, with suggestions, and all values that are missing, too many, or not
            of the flag's type.
    """
    problems = Problems()

    def refuse(word: str, flag: str, most: int) -> None:
        problems.add(f"'{shortened(word)}' belongs to no flag; {_takes(flag, most)}.")

    _check_flags(declared_types(cls), argv, problems, refuse)
    problems.raise_if_any()


def check_call(command: Callable[..., Any], argv: Sequence[str]) -> None:
    """Check the command line of a function, as :func:`check_words` does for a configuration.

    Args:
        command: Function with annotations; what can be given by position alone stands before the flags.
        argv: Its words.

    Raises:
        UserError: With every mistake.
    """
    hints, problems = get_type_hints(command), Problems()
    loose: list[tuple[str, str, int]] = []
    about = inspect.signature(command).parameters.values()
    first = [one for one in about if one.kind is one.POSITIONAL_ONLY]
    types = {one.name: hints[one.name] for one in about if one not in first}
    _check_flags(types, argv, problems, lambda *found: loose.append(found))
    named = " ".join(["nlptl", command.__name__, *(one.name.upper() for one in first)])
    needed = [one.name.upper() for one in first if one.default is one.empty]
    if len(loose) < len(needed):
        problems.add(f"{listed(needed[len(loose) :])} is missing; expected {named}.")
    if not any(get_origin(hints[one.name]) is tuple for one in first):
        for word, flag, most in loose[len(first) :]:
            meant = _takes(flag, most) if flag else f"expected {named}"
            problems.add(f"'{shortened(word)}' belongs to no flag; {meant}.")
    problems.raise_if_any()


def _check_flags(
    types: Mapping[str, Any],
    argv: Sequence[str],
    problems: Problems,
    loose: Callable[[str, str, int], None],
) -> None:
    """Note all unknown flags and all values that are missing or of the wrong type.

    Args:
        types: Flags by name, with their types.
        argv: Words of the command line.
        problems: Where the mistakes go.
        loose: Gets each word that no flag takes, the flag before it, and how many that one takes.
    """
    for flag, words in flag_groups(argv):
        name = flag.removeprefix("--").replace("-", "_")
        if name.startswith("no_") and types.get(name.removeprefix("no_")) is bool:
            name = name.removeprefix("no_")
        if flag and name not in types:
            near = suggest(flag, [f"--{known.replace('_', '-')}" for known in types])
            problems.add(f"{shortened(flag)}: there is no such flag.{near} --help lists them.")
            continue
        base, optional = _base(types[name]) if flag else (bool, False)
        if get_origin(base) is tuple:  # takes any number of words
            continue
        most = 0 if base is bool else 1
        if len(words) < most:
            problems.add(f"{flag} has no value; expected {expected(base)}.")
        for word in words[:most]:
            if not (_readable(word, base) or (optional and word == "None")):
                problems.add(f"{flag} is {shortened(word)}; expected {expected(base)}.")
        for word in words[most:]:
            loose(word, flag, most)


def _takes(flag: str, most: int) -> str:
    if not flag:
        return "flags begin with --"
    return f"{flag} takes one value" if most else f"{flag} takes none"


def flag_groups(argv: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag with the words after it; words before the first flag come with an empty flag."""
    flag, words = "", []
    for word in argv:
        if word.startswith("--"):
            yield flag, words
            flag, equals, value = word.partition("=")
            words = [value] if equals else []
        else:
            words.append(word)
    yield flag, words


def _readable(word: str, base: Any) -> bool:
    if get_origin(base) in UNIONS:
        return any(_readable(word, one) for one in get_args(base))
    if get_origin(base) is Literal:
        return word in get_args(base)
    try:
        base(word)
    except ValueError:
        return False
    return True


C = TypeVar("C")
#: numpy and torch are seeded with 32 bits.
LAST_SEED = 2**32 - 1
#: Longest trainings; what is longer is a slip of the keyboard.
MOST_EPOCHS, MOST_STEPS = 100_000, 1_000_000_000
ABOVE = (lambda x: x > 0, "a number above 0")
FROM_0 = (lambda x: x >= 0, "0 or more")

#: Field to a test and the range that it expects, in words.
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        (
            *(
                "batch_size",
                "gradient_accumulation_steps",
                "patience",
                "seeds",
            ),
            *("learning_rate", "lora_rank", "lora_alpha", "max_train_examples"),
            *("max_eval_examples", "n_best", "max_answer_tokens", "depth", "positions"),
            *("held_out", "eval_every"),
        ),
        ABOVE,
    ),
    **dict.fromkeys(
        (
            *("weight_decay", "warmup", "max_grad_norm", "bag_weight", "teacher_weight", "keep"),
            "masked_weight",
            *("l2_sp", "reinit_top"),
        ),
        FROM_0,
    ),
    "epochs": (lambda x: 0 < x <= MOST_EPOCHS, f"a number above 0 and at most {MOST_EPOCHS:,}"),
    "steps": (lambda x: 0 < x <= MOST_STEPS, f"a number above 0 and at most {MOST_STEPS:,}"),
    "split_seed": (lambda x: 0 <= x <= LAST_SEED, f"0 to {LAST_SEED}"),
    **dict.fromkeys(
        ("dropout", "lora_dropout", "mixout"),
        (lambda x: 0 <= x < 1, "0 or more and less than 1"),
    ),
    "layer_decay": (lambda x: 0 < x <= 1, "more than 0 and at most 1"),
    "threshold": (lambda x: 0 < x < 1, "more than 0 and less than 1"),
    "mask_share": (lambda x: 0 < x < 1, "more than 0 and less than 1"),
    **augment.RANGES,
}
#: Fewest tokens of an input (special tokens and a few of the text), and of a window of question and passage.
SHORTEST, SHORTEST_WINDOW = 8, 16


def wrong_numbers(config: Any) -> dict[str, str]:
    """Return what is wrong with a configuration's numbers, by field."""
    wrong = {}
    own = getattr(type(config), "ranges", {})  # of a method's own flags
    for name, (test, expected) in {**RANGES, **own}.items():
        value = getattr(config, name, None)
        if value is None or isinstance(value, str):
            continue
        if not math.isfinite(value):
            wrong[name] = _message(name, value, "a finite number")
        elif not test(value):
            wrong[name] = _message(name, value, expected)
    last = config.seed + max(1, getattr(config, "seeds", 1)) - 1
    if not 0 <= config.seed <= LAST_SEED:
        wrong["seed"] = _message("seed", config.seed, f"0 to {LAST_SEED}")
    elif last > LAST_SEED:
        wrong["seeds"] = (
            f"--seeds {config.seeds} from --seed {config.seed} on reach {last}; seeds go up to {LAST_SEED}."
        )
    if (every := getattr(config, "save_every", None)) is not None:
        try:
            interval_of(every)
        except ConfigError as error:
            wrong["save_every"] = str(error)
    least = SHORTEST_WINDOW if hasattr(config, "n_best") else SHORTEST
    if config.max_length is not None and config.max_length < least:
        wrong["max_length"] = _message(
            "max_length",
            config.max_length,
            f"{least} or more: special tokens and a few of the text",
        )
    return wrong


def _message(name: str, value: float, expected: str) -> str:
    return f"--{name.replace('_', '-')} is {value}; expected {expected}."


def check_numbers(config: Any) -> None:
    """Make sure that every number is finite and in its range.

    Raises:
        UserError: With all numbers that are not.
    """
    problems = Problems()
    for message in wrong_numbers(config).values():
        problems.add(message)
    problems.raise_if_any()


def with_sound_numbers(config: C) -> C:
    """Replace all numbers that are wrong by their defaults, so that the rest can be checked too.

    A wrong number is reported once; data that are read with it would fail, or report it again in other words.
    """
    known: Any = config
    defaults = {field.name: field.default for field in dataclasses.fields(known)}
    return dataclasses.replace(known, **{name: defaults[name] for name in wrong_numbers(config)})
