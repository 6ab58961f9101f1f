"""``--precision``: chosen once for the whole process, before anything is computed."""

import dataclasses
import os
from typing import Any, TypeVar

from nlptl.errors import ConfigError
from nlptl.train.precision import VARIABLE, WORDS, precision_of, use_precision

C = TypeVar("C")


def with_precision(config: C) -> C:
    """Fill in ``--precision`` and let this process work in it; mistakes are left to :func:`check_precision`.

    Args:
        config: A recipe's configuration; without a ``precision`` it is returned as it is.
    """
    known: Any = config
    if not hasattr(config, "precision"):
        return config
    try:
        name = precision_of(known.precision)
    except ConfigError:
        return config  # check_precision raises it again
    use_precision(name)
    return dataclasses.replace(known, precision=name)


def check_precision(asked: Any, family: str) -> None:
    """Make sure that a precision can work, and that flag and launch do not differ.

    Args:
        asked: ``--precision``.
        family: Model type of the checkpoint.

    Raises:
        ConfigError: If they differ; for fp16 without an accelerator, or on T5, whose checkpoints overflow
            in it.
    """
    name = precision_of(asked)
    if name != "fp16":
        return
    import torch

    if not torch.accelerator.is_available():
        raise ConfigError(
            "--precision fp16 needs a GPU, and there is none here; use auto, bf16 or fp32."
        )
    if family == "t5":
        raise ConfigError(
            "--precision fp16: T5 was pretrained in bf16, and its activations overflow in fp16. Use bf16 "
            "or fp32."
        )


def use_precision_of(config: Any) -> None:
    """Let this process work in the precision of a finished run, unless its own launch asks for another."""
    if VARIABLE not in os.environ and config.precision in WORDS:
        use_precision(config.precision)
