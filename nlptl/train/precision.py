"""The precision of a run: what was asked for, and what the machine has matrix units for."""

import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Literal

from nlptl.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
#: Accelerate's words for the precisions.
WORDS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
#: Variable that Accelerate reads, and the one that says that nlptl has set it.
VARIABLE, OURS = "ACCELERATE_MIXED_PRECISION", "NLPTL_PRECISION"


def has_bf16_units() -> bool:
    """Whether the GPU, or without one the processor, multiplies matrices in bfloat16 by units of their own.

    These are tensor cores of Ampere and later, and AMX or AVX-512 BF16. Elsewhere bfloat16 is emulated, and
    slower than float32.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.accelerator.is_available():
        return False
    # torch has no public question for these units.
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def asked_of_launcher(
    environment: Mapping[str, str],
    launcher: tuple[Sequence[str], Mapping[str, str]] | None,
    configured: bool = False,
) -> str | None:
    """Return the precision that the launch asks for, in nlptl's words; None if it asks for none.

    ``accelerate launch`` always sets the variable, to "no" where nobody said anything.

    Args:
        environment: Variables of this process.
        launcher: Command line and environment of ``accelerate launch``; None under another parent.
        configured: Whether ``accelerate config`` has written its file.
    """
    word = environment.get(VARIABLE, "").strip().lower()
    if not word or environment.get(OURS) == word:
        return None
    if word == "no" and launcher and not configured:
        command, given = launcher
        flags = ("mixed_precision", "mixed-precision", "config_file", "config-file")
        if VARIABLE not in given and not any(flag in part for part in command for flag in flags):
            return None
    return next((name for name, other in WORDS.items() if other == word), word)


def choose(flag: Precision, launched: str | None, units: bool) -> str:
    """Choose the precision.

    Args:
        flag: ``--precision``.
        launched: Precision that the launch asks for, if it does.
        units: Whether there are units for bfloat16.

    Raises:
        ConfigError: If flag and launch ask for different ones.
    """
    if flag == "auto":
        return launched or ("bf16" if units else "fp32")
    if launched not in (None, flag):
        raise ConfigError(
            f"--precision {flag}: the launch asks for {launched} (--mixed_precision of accelerate launch, its "
            f"configuration, or {VARIABLE}). Leave one of the two out."
        )
    return flag


def precision_of(flag: Precision) -> str:
    """Choose the precision of this process: ``fp32``, ``bf16`` or ``fp16``.

    Args:
        flag: ``--precision``.

    Raises:
        ConfigError: If flag and launch ask for different ones.
    """
    from accelerate.commands.config.config_args import default_config_file

    from nlptl.train.machine import launched_by_accelerate

    configured = Path(default_config_file).is_file()
    launched = asked_of_launcher(os.environ, launched_by_accelerate(), configured)
    return choose(flag, launched, flag == "auto" and has_bf16_units())


def use_precision(name: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let Accelerate, and whatever this process starts, work in a precision: ``fp32``, ``bf16`` or ``fp16``.

    Args:
        name: The precision.
        environment: Variables that are set.
    """
    word = WORDS.get(name, name)
    if environment.get(VARIABLE, "").strip().lower() != word:
        environment[VARIABLE] = environment[OURS] = word


def forget_precision(environment: Mapping[str, str] = os.environ) -> None:
    """Let the next accelerator of this process read the precision again; Accelerate keeps the first one's."""
    from accelerate.state import AcceleratorState

    kept = AcceleratorState._shared_state.get("_mixed_precision")
    if kept is not None and kept != environment.get(VARIABLE, "no").strip().lower():
        AcceleratorState._reset_state()
