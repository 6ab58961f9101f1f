"""What a launcher was asked for: read from the environment, and refused where nlptl cannot do it."""

import os
from collections.abc import Mapping

from nlptl.errors import ConfigError, Problems, listed

#: Precisions that a run can be launched with.
PRECISIONS = ("no", "bf16", "fp16")
#: Settings of Accelerate that nlptl has no code for.
UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "Accelerate's parallelism_config",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
#: Marks of MPI's launchers: the number of processes, and the rank.
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def on(environment: Mapping[str, str], name: str) -> bool:
    """Whether a variable says yes, as Accelerate reads it."""
    return environment.get(name, "").strip().lower() in ("1", "true", "yes", "y", "t", "on")


def processes(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes that were launched together.

    Raises:
        ConfigError: If the launcher's variable holds something else.
    """
    return _number(environment, "WORLD_SIZE", 1)


def check_launch(
    environment: Mapping[str, str] = os.environ, parent: Mapping[str, str] | None = None
) -> None:
    """Make sure that a run does all that its launcher was asked for.

    Args:
        environment: Variables that ``accelerate launch`` and ``torchrun`` set.
        parent: Variables of the launcher itself; None where it is not Accelerate's.

    Raises:
        UserError: With everything that would not be done.
    """
    problems = Problems()
    count = problems.run(processes, environment) or 1
    for name, what in UNSUPPORTED.items():
        if on(environment, name):
            problems.add(
                f"The launch asks for {what} ({name}), which nlptl does not use. Launch without it: torchrun "
                "--nproc_per_node N, or a file of recipes/configs/accelerate; where memory is short, "
                "--gradient-checkpointing or --mode lora."
            )
    _check_precision(environment, problems)
    _check_accelerates_own(environment, problems)
    if alone := _asked_for_more(environment, count, parent):
        problems.add(alone)
    problems.raise_if_any()


def _number(environment: Mapping[str, str], name: str, usual: int) -> int:
    word = environment.get(name, "")
    try:
        return int(word or usual)
    except ValueError:
        raise ConfigError(
            f"The environment has {name}={word[:40]!r}; expected a whole number, as torchrun sets it."
        ) from None


def _check_precision(environment: Mapping[str, str], problems: Problems) -> None:
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").strip().lower()
    if precision not in PRECISIONS:
        problems.add(
            f"--mixed_precision {precision[:40]}: expected one of {listed(PRECISIONS)}. Launch with one of "
            "them, or change mixed_precision in Accelerate's configuration."
        )


def _check_accelerates_own(environment: Mapping[str, str], problems: Problems) -> None:
    """Note settings of Accelerate that have a flag of nlptl's own."""
    backend = environment.get("ACCELERATE_DYNAMO_BACKEND", "no").strip().lower()
    if backend not in ("no", ""):
        problems.add(
            f"The launch asks for --dynamo_backend {backend[:40]}, which nlptl does not use. Give the recipe "
            "--compile instead."
        )
    steps = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1").strip()
    if steps not in ("1", ""):
        problems.add(
            f"The launch asks for {steps[:40]} gradient accumulation steps, which would divide the gradients "
            "and accumulate nothing. Give the recipe --gradient-accumulation-steps instead."
        )


def _asked_for_more(
    environment: Mapping[str, str], count: int, parent: Mapping[str, str] | None
) -> str | None:
    """Say that several processes were asked for and only one knows of the launch, if that is so."""
    started_alone = count == 1 and "RANK" not in environment
    for name in MPI:
        if started_alone and environment.get(name, "1") not in ("1", ""):
            return (
                f"MPI started {environment[name]} processes ({name}), which would each train alone. Launch "
                "with torchrun (--nproc_per_node, --nnodes) instead."
            )
    # Accelerate's simple launcher gives the address of the main process where it was asked for several.
    alone = parent is not None and "MASTER_ADDR" in environment and "MASTER_ADDR" not in parent
    if started_alone and alone:
        return (
            "accelerate launch was asked for several processes and has started only one, as it does on CPUs. "
            "Launch with nlptl run NAME --processes N, or torchrun --nproc_per_node N -m nlptl run NAME."
        )
    return None
