"""Frozen blocks computed once: a transform of Batches, and a Step that starts above them.

The states at the border of what is frozen are computed once, in batches sorted by length, without
gradient, and kept ragged; from then on the model starts there. The loop does not know it. AutoFreeze
(Liu et al., 2021) and Embedding Recycling (Saad-Falcon et al., 2023) are the precedents. The states
are as good as the texts: they can be turned back into them, so the folder is as private as the data.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.cache import directory
from nlptl.cache.plan import Plan
from nlptl.cache.ragged import Ragged, checksum
from nlptl.data.batching import LengthBatches
from nlptl.errors import RunError
from nlptl.models.prefix import Prefix
from nlptl.records import Batch, Batches, Collate, Step, StepOutput

#: Inputs of a forward pass that the states depend on.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
#: Largest difference from the live model, as a share of the largest state: rounding of another padding,
#: of half precision in storage, and of bf16 arithmetic.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3}
AUTOCAST_TOLERANCE = 5e-2
#: Features that are computed together; those that are compared with the live model.
BATCH, SAMPLE = 64, 4
#: Seconds after which another run's unfinished entry counts as abandoned.
ABANDONED = 6 * 3600.0

Arrays = dict[str, Ragged]
#: States kept in memory for the next seeds of the same run: hash of the frozen weights, key, arrays.
_KEPT: dict[str, dict[str, Arrays]] = {}


class PrefixCache:
    """The cached states of one model's splits.

    Args:
        prefix: What is left out; its model on its device.
        plan: Where the states go; not ``off``.
        outputs: Runs the model on a batch's inputs.
        pooled: ``first`` or ``last`` where the head reads one token of a text only and all blocks are left
            out, so that nothing else is kept; else None.
        accelerator: Device, processes, precision.
        report: Told of entries that had to be made again.
    """

    def __init__(
        self,
        prefix: Prefix,
        plan: Plan,
        *,
        outputs: Callable[[Mapping[str, Tensor]], object],
        pooled: str | None,
        accelerator: Any,
        report: Callable[[str], None],
    ) -> None:
        self.prefix, self.plan, self.outputs = prefix, plan, outputs
        self.pooled, self.accelerator, self.report = pooled, accelerator, report
        self.weights = prefix.fingerprint()
        self.splits: dict[str, tuple[Any, np.ndarray, Collate, Arrays]] = {}
        self.took: dict[str, float] = {}  # seconds a split, looking and comparing included
        self.seconds = 0.0
        self.found = self.tokens = self.served = self.bytes = 0

    def add(self, split: str, rows: Any, lengths: np.ndarray, collate: Collate) -> None:
        """Find or compute the states of a split.

        Raises:
            RunError: If the cached states differ from the live model's, or the collate function draws at
                random, so that a text is never seen twice alike.
        """
        began = time.perf_counter()
        batches = self._batches(rows, lengths, collate)
        key = self._key(batches)
        in_memory = self.plan.kind == "memory"
        kept = _KEPT.get(self.weights, {})
        arrays = kept.get(key) if in_memory else self._open(key, lengths)
        if arrays is not None and not self._agrees(arrays, rows, lengths, collate):
            self.report("note: the cached states of an earlier run were damaged; made anew.")
            arrays = None
        if arrays is None:
            start = time.perf_counter()
            arrays = self._make(key, batches, lengths)
            self.seconds += time.perf_counter() - start
            self.tokens += int(lengths.sum())
            if not self._agrees(arrays, rows, lengths, collate):
                raise RunError(
                    f"The cached states of the {split} split differ from the live model's. Run with --cache "
                    "off, and please report this."
                )
        else:
            self.found += 1
        self.bytes += sum(array.nbytes for array in arrays.values())
        self.splits[split] = rows, lengths, collate, arrays
        self.took[split] = time.perf_counter() - began

    def batches(self, split: str, *, batch_size: int, seed: int | None) -> Batches:
        """The split's batches, in the same order as without a cache, with the states in them."""
        rows, lengths, collate, arrays = self.splits[split]
        fed = LengthBatches(
            _Fed(rows, self.pooled),
            lengths,
            _fed_collate(collate, arrays),
            batch_size=batch_size,
            seed=seed,
            process=(self.accelerator.process_index, self.accelerator.num_processes),
        )
        return _Counted(fed, lengths, self)

    def step(self, step: Step) -> Step:
        """The step, on a model that starts above the frozen blocks (:meth:`active`)."""

        def run(model: nn.Module, batch: Batch) -> StepOutput:
            fed = {name: batch.inputs[f"_{name}"] for name in self.prefix.names}
            self.prefix.feed(fed)
            rest = {key: value for key, value in batch.inputs.items() if key[0] != "_"}
            return step(model, replace(batch, inputs=rest))

        return run

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within, the model starts above the frozen blocks.

        Raises:
            RunError: If the frozen weights are others at the end, so that the states were wrong.
        """
        with self.prefix.left_out():
            yield
        if self.prefix.fingerprint() != self.weights:
            raise RunError(
                "Weights below the cached states changed while training, so the run cannot be trusted. Use "
                "--cache off, and please report this."
            )

    @property
    def saved(self) -> float:
        """Seconds that the frozen blocks would have taken for what was served, less what they took."""
        if not self.tokens:
            return 0.0
        return self.seconds * self.served / self.tokens - self.seconds

    def __str__(self) -> str:
        what = "the token that the head reads" if self.pooled else "the states"
        size = f"{self.bytes / 1e6:.1f} MB, {self.plan.dtype}, {self.plan.kind}"
        if not self.tokens:
            how = "found from an earlier run"
        else:
            how = f"computed once in {self.seconds:.1f} s, which saved about {max(0, self.saved):.0f} s"
        return f"cache: {what} above block {self.prefix.blocks} ({size}), {how}"

    def record(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "kind": self.plan.kind,
            "dtype": self.plan.dtype,
            "blocks": self.prefix.blocks,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "saved_seconds": round(self.saved, 3),
            "found": self.found,
        }

    def _batches(self, rows: Any, lengths: np.ndarray, collate: Collate) -> LengthBatches:
        process = (self.accelerator.process_index, self.accelerator.num_processes)
        return LengthBatches(rows, lengths, collate, batch_size=BATCH, process=process)

    def _key(self, batches: LengthBatches) -> str:
        import transformers

        found = sha256()
        about = (self.weights, self.pooled, self.plan.dtype, self.accelerator.mixed_precision)
        found.update(f"{about} {torch.__version__} {transformers.__version__}".encode())
        whole = LengthBatches(  # the same for all processes
            batches.features, batches.lengths, batches.collate, batch_size=BATCH
        )
        for number, batch in enumerate(whole.epoch(0)):
            found.update(str(batch.indices).encode())
            for name in INPUTS:
                if name in batch.inputs:
                    found.update(f"{name} {tuple(batch.inputs[name].shape)}".encode())
                    found.update(batch.inputs[name].numpy().tobytes())
            if number == 0:
                self._refuse_randomness(whole, batch)
        return found.hexdigest()

    def _refuse_randomness(self, batches: LengthBatches, batch: Batch) -> None:
        rows = [batches.features[i] for i in batch.indices]
        for seed in (1, 2):
            again = batches.collate(rows, np.random.default_rng(seed))
            if any(not torch.equal(again[n], batch.inputs[n]) for n in INPUTS if n in again):
                raise RunError(
                    "The task's collate function draws at random (augmentation, dynamic masks), so no text is "
                    "seen twice alike and nothing can be cached. Use --cache off."
                )

    def _make(self, key: str, batches: LengthBatches, lengths: np.ndarray) -> Arrays:
        rows = np.ones_like(lengths) if self.pooled else lengths
        if self.plan.kind == "memory":
            arrays = {name: self._ragged(rows, None) for name in self.prefix.names}
            self._compute(batches, lengths, arrays)
            if self.weights not in _KEPT:  # another model: the old states have served
                _KEPT.clear()
            _KEPT.setdefault(self.weights, {})[key] = arrays
            return arrays
        partial, final = directory.folder() / f".{key}", directory.folder() / key
        main = self.accelerator.is_local_main_process
        if main:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)
            partial.mkdir(parents=True)
            for name in self.prefix.names:
                self._ragged(rows, partial / name)
        self.accelerator.wait_for_everyone()
        arrays = {
            name: self._ragged(rows, partial / name, create=False, write=True)
            for name in self.prefix.names
        }
        self._compute(batches, lengths, arrays)
        self.accelerator.wait_for_everyone()
        if main:
            sums = {name: checksum(partial / name) for name in self.prefix.names}
            about = f"{len(lengths)} texts above block {self.prefix.blocks}, {self.plan.dtype}"
            (partial / "meta.json").write_text(json.dumps({"checksums": sums, "about": about}))
            os.replace(partial, final)
            directory.shrink(directory.limit(), sparing=ABANDONED)
        self.accelerator.wait_for_everyone()
        opened = self._open(key, lengths)
        if opened is None:
            raise RunError(
                f"The cache in {directory.folder()} was removed while it was written, or NLPTL_CACHE_GB is "
                "smaller than one entry. Use --cache memory or off."
            )
        return opened

    def _ragged(
        self, rows: np.ndarray, path: Path | None, *, create: bool = True, write: bool = False
    ) -> Ragged:
        width = self.prefix.width
        return Ragged(rows, width, self.plan.dtype, path, create=create, write=write)

    def _open(self, key: str, lengths: np.ndarray) -> Arrays | None:
        """The whole entry of a key; a damaged one counts as none."""
        path = directory.folder() / key
        rows = np.ones_like(lengths) if self.pooled else lengths
        try:
            sums = json.loads((path / "meta.json").read_text())["checksums"]
            arrays = {name: self._ragged(rows, path / name, create=False) for name in sums}
            if {name: checksum(path / name) for name in self.prefix.names} != sums:
                return None
        except (OSError, ValueError, KeyError):
            return None
        directory.touch(path)
        return arrays

    @torch.no_grad()
    def _compute(self, batches: Batches, lengths: np.ndarray, arrays: Arrays) -> None:
        for batch in batches.epoch(0):
            for name, values in self._states(batch).items():
                for row, index in enumerate(batch.indices):
                    arrays[name].put(index, self._part(values[row], int(lengths[index])))
        for array in arrays.values():
            array.flush()

    @torch.no_grad()
    def _states(self, batch: Batch) -> dict[str, np.ndarray]:
        model, inputs = self.prefix.model, batch.to(self.accelerator.device).inputs
        was = model.training
        model.eval()
        with self.accelerator.autocast():
            states = self.prefix.run(lambda: self.outputs(inputs))
        model.train(was)
        return {name: tensor.cpu().numpy() for name, tensor in states.items()}

    def _part(self, states: np.ndarray, length: int) -> np.ndarray:
        """Of one text's padded states those that are kept."""
        if self.pooled is None:
            return states[:length]
        return states[length - 1 : length] if self.pooled == "last" else states[:1]

    def _agrees(self, arrays: Arrays, rows: Any, lengths: np.ndarray, collate: Collate) -> bool:
        """Compare some states with the live model's."""
        chosen = np.linspace(0, len(lengths) - 1, min(SAMPLE, len(lengths))).astype(int).tolist()
        inputs = collate([rows[i] for i in chosen], np.random.default_rng(0))
        live = self._states(Batch(inputs, tuple(chosen), len(chosen)))
        share = TOLERANCE[self.plan.dtype]
        if self.accelerator.mixed_precision != "no":
            share = AUTOCAST_TOLERANCE
        for name, values in live.items():
            for row, index in enumerate(chosen):
                expected = self._part(values[row], int(lengths[index]))
                kept = arrays[name].padded([index])[0, : len(expected)].numpy()
                if not np.abs(kept - expected).max() <= share * max(1.0, np.abs(expected).max()):
                    return False
        return True


def forget() -> None:
    """Free the states that are kept in memory for further runs on the same frozen blocks."""
    _KEPT.clear()


class _Fed:
    """Features whose rows know their number; of a pooled one only the token that the head reads."""

    def __init__(self, rows: Any, pooled: str | None) -> None:
        self.rows, self.pooled = rows, pooled
        self.small: dict[int, Mapping[str, Any]] = {}

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if index in self.small:
            return self.small[index]
        row = {**self.rows[index], "_index": index}
        if (
            self.pooled
        ):  # a handful of numbers: reading them anew would take longer than the head does
            row["input_ids"] = [row["input_ids"][-1 if self.pooled == "last" else 0]]
            self.small[index] = row
        return row


def _fed_collate(collate: Collate, arrays: Arrays) -> Collate:
    def run(rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Mapping[str, Tensor]:
        indices = [row["_index"] for row in rows]
        states = {f"_{name}": array.padded(indices) for name, array in arrays.items()}
        return {**collate(rows, rng), **states}

    return run


class _Counted:
    """Batches that tell the cache how many tokens it served."""

    def __init__(self, batches: LengthBatches, lengths: np.ndarray, cache: PrefixCache) -> None:
        self.inner, self.lengths, self.cache = batches, lengths, cache

    def __len__(self) -> int:
        return len(self.inner)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.inner.epoch(number, start):
            self.cache.served += int(self.lengths[list(batch.indices)].sum())
            yield replace(batch, padding=0.0) if self.cache.pooled else batch
