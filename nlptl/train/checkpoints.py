"""Checkpoints that ``--resume`` continues from: trainable weights, optimizer, randomness, position.

Everything is safetensors or JSON. A checkpoint is written under another name and renamed when it is
whole and on the disk, so that a run killed at any moment leaves only whole ones behind. It holds the size
and the checksum of each of its files: one that was damaged since gives way to the one before it.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nlptl.data.files import damage_of, seal_folder, synced
from nlptl.errors import ConfigError, RunError, listed
from nlptl.records import FitState, Hook, Sums
from nlptl.train.precision import WORDS
from nlptl.train.stopping import words_of_program
from nlptl.train.terminal import say

#: A model as it was before its first step, in a pretraining's directory; ``--resume`` builds on it.
START = "models/step-0000000"
POSITION = ("step", "epoch", "batch", "examples", "loss", "lr_history", "stopped")


@runtime_checkable
class Resumable(Protocol):
    """A hook with a memory that a checkpoint must hold."""

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what to write: JSON-able values, and tensors."""
        ...

    def remember(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`memory` gave."""
        ...


def named_memories(hooks: Sequence[Hook]) -> dict[str, Resumable]:
    """Name every hook that has a memory: by its class, numbered where there are several of one class."""
    named: dict[str, Resumable] = {}
    for hook in hooks:
        if isinstance(hook, Resumable):
            name, number = type(hook).__name__, 1
            while name in named:
                number += 1
                name = f"{type(hook).__name__}-{number}"
            named[name] = hook
    return named


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the trainable parameters and all buffers, by name, to the CPU."""
    tensors = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tensors |= dict(model.named_buffers())
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}


def load_trainable_state(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Copy tensors from :func:`trainable_state` back into ``model``, in place.

    Raises:
        RunError: If the names differ from what is trainable now (another mode or model).
    """
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own |= dict(model.named_buffers())
    if set(own) != set(tensors):
        odd = sorted(set(own) ^ set(tensors))
        raise RunError(
            f"The checkpoint does not fit the model: {len(odd)} tensors differ ({odd[0]}, …). "
            "It was written by another mode or model; use another --output-dir."
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save(
    directory: Path,
    *,
    state: FitState,
    accelerator: Any,
    schedules: Sequence[Any],
    memories: Mapping[str, Resumable],
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write one checkpoint below ``directory`` and delete all but the newest two.

    Args:
        directory: The ``checkpoints/`` of the run.
        state: Position in the run; ``state.model`` and ``state.optimizers`` are written too.
        accelerator: Accelerator; every process must call, and each writes its own random state.
        schedules: One schedule per optimizer; their ``state_dict`` goes into the JSON.
        memories: Hooks to write, from :func:`named_memories`.
        about: Values that must be the same when the run is resumed, such as labels and a hash of the data.

    Returns:
        The checkpoint's path.
    """
    final = directory / f"step-{state.step:07d}"
    partial = directory / f".partial-{state.step:07d}"
    if accelerator.is_main_process:
        for left in directory.glob(".partial-*"):  # a session was killed, or its disk was full
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    save_file(_random_state(), _own(partial, "random", "safetensors", accelerator))
    _own(partial, "sums", "json", accelerator).write_text(json.dumps(_plain(state.sums)))
    if accelerator.is_main_process:
        model = accelerator.unwrap_model(state.model)
        save_file(trainable_state(model), partial / "weights.safetensors")
        save_file(_optimizer_state(model, state.optimizers), partial / "optimizer.safetensors")
        kept = {name: hook.memory() for name, hook in memories.items()}
        tensors = {f"{name}:{k}": t for name, (_, own) in kept.items() for k, t in own.items()}
        if tensors:
            save_file(tensors, partial / "hooks.safetensors")
        record: dict[str, Any] = {key: getattr(state, key) for key in POSITION}
        record["schedules"] = [_jsonable(schedule.state_dict()) for schedule in schedules]
        record["hooks"] = {name: values for name, (values, _) in kept.items()}
        record["scaler"] = accelerator.scaler.state_dict() if accelerator.scaler else None
        record["seconds"] = {"training": state.clock.training, "scoring": state.clock.scoring}
        record["launch"] = _launch(accelerator)
        record["about"] = dict(about or {})
        (partial / "state.json").write_text(json.dumps(record))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        seal_folder(partial)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        synced(directory)
        for old in sorted(directory.glob("step-*"))[:-2]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def newest(directory: Path) -> Path | None:
    """Return the newest checkpoint whose files are all as they were written, or None; name damaged ones."""
    for path in sorted(directory.glob("step-*"), reverse=True):
        damage = damage_of(path)
        if damage is None:
            return path
        say(
            f"note: the checkpoint {path} is damaged ({damage}); the one before it is taken, if there is one."
        )
    return None


def restore(
    path: Path,
    *,
    state: FitState,
    accelerator: Any,
    schedules: Sequence[Any],
    memories: Mapping[str, Resumable],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Load a checkpoint into model, optimizers, schedules, hooks and random generators, in place.

    Args:
        path: Checkpoint from :func:`newest`.
        state: A fresh state; its position is set.
        accelerator: Accelerator as for :func:`save`.
        schedules: Fresh schedules.
        memories: Fresh hooks, as for :func:`save`.
        about: Values as for :func:`save`.

    Raises:
        ConfigError: If it was written by another number of processes, in another precision, with other hooks,
            on other data, with other labels or by an older version.
        RunError: If it was written by another mode or model.
    """
    record = json.loads((path / "state.json").read_text())
    _check_form(path, record, memories)
    _check_launch(path, record, accelerator)
    check_about(path, record["about"], dict(about or {}))
    model = accelerator.unwrap_model(state.model)
    load_trainable_state(model, load_file(path / "weights.safetensors"))
    _load_optimizer_state(model, state.optimizers, load_file(path / "optimizer.safetensors"))
    for key in POSITION:
        setattr(state, key, record[key])
    state.clock.add(**record["seconds"])
    state.sums = Sums(**json.loads(_own(path, "sums", "json", accelerator).read_text()))
    for schedule, kept in zip(schedules, record["schedules"], strict=True):
        _check_rates(path, kept["base_lrs"], schedule.base_lrs)
        schedule.load_state_dict({**schedule.state_dict(), **kept})
        rates = schedule.get_last_lr()
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    if accelerator.scaler and record.get("scaler"):  # fp16's scale of the loss
        accelerator.scaler.load_state_dict(record["scaler"])
    file = path / "hooks.safetensors"
    tensors = load_file(file) if file.exists() else {}
    for name, hook in memories.items():
        own = {
            k.removeprefix(f"{name}:"): t for k, t in tensors.items() if k.startswith(f"{name}:")
        }
        hook.remember(record["hooks"][name], own)
    _load_random_state(load_file(_own(path, "random", "safetensors", accelerator)))


def _check_form(path: Path, record: Mapping[str, Any], memories: Mapping[str, Resumable]) -> None:
    """Make sure that a checkpoint is of this version and holds the memory of every present hook."""
    if not {"schedules", "launch", "about"} <= set(record) or "sums" in record:
        raise ConfigError(
            f"--resume: {path} was written by an older version of nlptl, which kept other things. Start "
            "again in another --output-dir."
        )
    if set(record["hooks"]) != set(memories):
        raise ConfigError(
            f"--resume: {path} holds the memory of the hooks {listed(sorted(record['hooks'])) or 'none'}; now "
            f"there are {listed(sorted(memories)) or 'none'}. Give the same hooks, or start again in another "
            "--output-dir."
        )


def check_about(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Make sure that a run goes on with the data and labels that it began with.

    Args:
        path: Checkpoint, for the message.
        then: Values that it was written with.
        now: The present ones, by the same names.

    Raises:
        ConfigError: If one of them is another.
    """
    differ = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if not differ:
        return
    known = "labels" in differ
    labels = (
        f" It has the labels {listed(then.get('labels') or ['none'])}; now they are "
        f"{listed(now.get('labels') or ['none'])}."
    )
    raise ConfigError(
        f"--resume: the {' and the '.join(differ)} have changed since the checkpoint {path}."
        f"{labels * known} Give the same as before, or start again in another --output-dir."
    )


def _check_rates(path: Path, then: Sequence[float], now: Sequence[float]) -> None:
    """Make sure that a checkpoint has the present parameter groups, each with its factor of the peak rate."""
    factors = zip(then, now, strict=False)
    if len(then) != len(now) or not all(isclose(a * now[0], b * then[0]) for a, b in factors):
        raise RunError(
            f"The checkpoint {path} has parameter groups with the peak rates {listed(then)}, now they are "
            f"{listed(now)}. It was written by another mode; use another --output-dir."
        )


def _own(path: Path, name: str, ending: str, accelerator: Any) -> Path:
    """Return the file of what each process has for itself."""
    return path / f"{name}-{accelerator.process_index}.{ending}"


def _plain(sums: Sums) -> dict[str, Any]:
    """Return the sums of this process, whose losses may be tensors, as numbers."""
    terms = {name: float(value) for name, value in sums.terms.items()}
    return {**vars(sums), "loss": float(sums.loss), "terms": terms}


def _launch(accelerator: Any) -> dict[str, Any]:
    return {
        "processes": accelerator.num_processes,
        "mixed_precision": str(accelerator.mixed_precision),
    }


def _check_launch(path: Path, record: dict, accelerator: Any) -> None:
    """Make sure that the launch is the same: random draws depend on the rank, all numbers on the precision."""
    now, then = _launch(accelerator), record["launch"]
    if then != now:
        words, count = words_of_program(sys.argv[0]), then["processes"]
        start = " ".join(words[:3]) if words[:2] == ["nlptl", "run"] else "nlptl run NAME"
        precision = next((k for k, v in WORDS.items() if v == then["mixed_precision"]), "auto")
        several = f" --processes {count}" * (count > 1)
        raise ConfigError(
            f"--resume: {path} was written by {_launched(then)}; now it is {_launched(now)}, with which the "
            f"run cannot continue exactly. Launch it as before ({start} … --precision {precision}{several} "
            "--resume), or start again in another --output-dir."
        )


def _launched(launch: dict[str, Any]) -> str:
    count = launch["processes"]
    return f"{count} process{'es' * (count > 1)} in mixed precision '{launch['mixed_precision']}'"


def _jsonable(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "lr_lambdas"}


def _optimizer_state(model: nn.Module, optimizers: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the moments by name; a parameter belongs to one optimizer only."""
    names = {id(p): name for name, p in model.named_parameters()}
    tensors = {}
    for optimizer in optimizers.values():
        for parameter, moments in optimizer.state.items():
            for key, value in moments.items():
                tensors[f"{key}:{names[id(parameter)]}"] = torch.as_tensor(value).detach().cpu()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _load_optimizer_state(
    model: nn.Module, optimizers: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    parameters, owner = dict(model.named_parameters()), {}
    for optimizer in optimizers.values():
        inner = getattr(optimizer, "optimizer", optimizer)
        owner |= {id(p): inner for group in inner.param_groups for p in group["params"]}
    for name, tensor in tensors.items():
        key, _, parameter_name = name.partition(":")
        parameter = parameters[parameter_name]
        inner = owner[id(parameter)]
        # `step` stays where the optimizer puts it, on the CPU unless it is fused; moments live beside theirs.
        fused = inner.defaults.get("fused") and parameter.is_cuda
        device = "cpu" if key == "step" and not fused else parameter.device
        inner.state[parameter][key] = tensor.to(device)


def _random_state() -> dict[str, torch.Tensor]:
    python = json.dumps(random.getstate()).encode()
    _, keys, *rest = np.random.get_state()
    tensors = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(list(python), dtype=torch.uint8),
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([float(value) for value in rest], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors


def _load_random_state(tensors: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(tensors["torch"])
    version, internal, gauss = json.loads(bytes(tensors["python"].tolist()))
    random.setstate((version, tuple(internal), gauss))
    position, has_gauss, cached = tensors["numpy_rest"].tolist()
    keys = tensors["numpy_keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
