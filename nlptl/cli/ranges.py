"""Ranges of the numeric flags: one row for each flag, whichever recipe has it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar

from nlptl.errors import Problems

C = TypeVar("C")
#: numpy and torch are seeded with 32 bits.
LAST_SEED = 2**32 - 1
ABOVE = (lambda x: x > 0, "a number above 0")
FROM_0 = (lambda x: x >= 0, "0 or more")

#: Field to a test and the range that it expects, in words.
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        (
            *(
                "batch_size",
                "gradient_accumulation_steps",
                "epochs",
                "steps",
                "patience",
                "seeds",
            ),
            *("learning_rate", "lora_rank", "lora_alpha", "max_train_examples"),
            *("max_eval_examples", "n_best", "max_answer_tokens", "depth", "positions"),
            *("held_out", "eval_every", "save_every"),
        ),
        ABOVE,
    ),
    **dict.fromkeys(
        ("weight_decay", "warmup", "max_grad_norm", "bag_weight", "teacher_weight", "keep"), FROM_0
    ),
    "split_seed": (lambda x: 0 <= x <= LAST_SEED, f"0 to {LAST_SEED}"),
    "dropout": (lambda x: 0 <= x < 1, "0 or more and less than 1"),
    "mask_share": (lambda x: 0 < x < 1, "more than 0 and less than 1"),
}
#: Fewest tokens of an input (special tokens and a few of the text), and of a window of question and passage.
SHORTEST, SHORTEST_WINDOW = 8, 16


def wrong_numbers(config: Any) -> dict[str, str]:
    """Return what is wrong with a configuration's numbers, by field."""
    wrong = {}
    for name, (test, expected) in RANGES.items():
        value = getattr(config, name, None)
        if value is None:
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
