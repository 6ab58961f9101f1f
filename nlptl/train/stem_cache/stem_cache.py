"""The cache of frozen blocks: a transform of batches, and a loss whose model starts above the blocks.

The states at the border of what is frozen are computed once, in batches sorted by length, without
gradient, and kept ragged; from then on the model starts there. The loop is not aware of it. AutoFreeze
(Liu et al., 2021) and Embedding Recycling (Saad-Falcon et al., 2023) are the precedents. The states
can be turned back into the texts, so the folder is as private as the data.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.batching import LengthBatches
from nlptl.errors import RunError, many
from nlptl.models.frozen_stem import FrozenStem
from nlptl.records import Batch, Batches, Collate
from nlptl.train.machine import gather
from nlptl.train.stem_cache.plan import DTYPES, CachePlan, Kind
from nlptl.train.stem_cache.store import Arrays, Draft, Entry

#: Inputs of a forward pass that the states depend on.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
#: Largest difference from the live model, as a share of the largest state: rounding of another padding,
#: of half precision in storage, and of bf16 arithmetic.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3}
AUTOCAST_TOLERANCE = 5e-2
#: Number of features that are computed together, and of those that are compared with the live model.
BATCH, SAMPLE = 64, 4


class TooLarge(Exception):
    """States beyond what float16 holds."""


class StemCache:
    """The cached states of one model's splits.

    Args:
        stem: The blocks that are left out; the model is on its device.
        outputs: Function that runs the model on a batch's inputs.
        pooled: ``first``, ``last`` or ``mean`` if the head reads only one token of a text, or the mean of
            all, and all blocks are left out, so that nothing else is kept; else None.
        accelerator: Accelerator with device, processes and precision.
        report: Function that prints a line about entries that had to be made again.
    """

    def __init__(
        self,
        stem: FrozenStem,
        *,
        outputs: Callable[[Mapping[str, Tensor]], object],
        pooled: str | None,
        accelerator: Any,
        report: Callable[[str], None],
    ) -> None:
        self.stem, self.outputs = stem, outputs
        self.pooled, self.accelerator, self.report = pooled, accelerator, report
        self.weights = stem.fingerprint()
        self.splits: dict[str, tuple[Any, np.ndarray, Collate, Arrays]] = {}
        self.took: dict[str, float] = {}  # seconds a split, looking and comparing included
        self.seconds = self.tokens = 0.0
        self.found = self.served = self.bytes = 0
        self.plan = CachePlan("off")
        self.keys: dict[str, str] = {}
        self.bar: Any = None  # counts the rows that are computed

    def look(
        self, splits: Mapping[str, Any], collate: Collate, kinds: Sequence[Kind]
    ) -> list[tuple[Kind, str]]:
        """Look for places and types in which an earlier run left the states of all splits.

        Args:
            splits: Mapping from names to rows and lengths.
            collate: Function that makes batches of them.
            kinds: Places to look in.

        Raises:
            RunError: If the collate function draws at random, so that a text is never seen twice alike.
        """
        for name, part in splits.items():
            self.keys[name] = self._key(self._batches(part.rows, part.lengths, collate))
        plans = [CachePlan(kind, dtype) for dtype in DTYPES for kind in kinds]
        return [(plan.kind, plan.dtype) for plan in plans if self._is_there(plan, splits)]

    def _is_there(self, plan: CachePlan, splits: Mapping[str, Any]) -> bool:
        entries = [self._entry(name, part.lengths, plan) for name, part in splits.items()]
        return all(entry.is_there(plan.kind) for entry in entries)

    def add(self, split: str, rows: Any, lengths: np.ndarray, collate: Collate) -> None:
        """Find or compute the states of a split, as ``plan`` says; after :meth:`look`.

        Raises:
            RunError: If the cached states differ from the live model's.
            TooLarge: If float16 cannot hold them.
        """
        began = time.perf_counter()
        kind, entry = self.plan.kind, self._entry(split, lengths, self.plan)
        arrays = entry.open(kind)
        if arrays is not None and not self._agrees(arrays, rows, lengths, collate):
            self.report(
                "note: the cached states of an earlier run were damaged; they are computed again."
            )
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process or kind == "memory":
                entry.drop(kind)
            arrays = None
        if arrays is None:
            start = time.perf_counter()
            arrays = self._make(entry, self._batches(rows, lengths, collate), lengths)
            self.seconds += time.perf_counter() - start
            self.tokens += float(lengths.sum()) / self.accelerator.num_processes
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
        """Return the split's batches, in the same order as without a cache, with the states in them."""
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

    @contextmanager
    def feeding(self, loss: nn.Module) -> Iterator[None]:
        """Let a loss take the states out of its inputs within, and its model continue from them."""

        def feed(module: nn.Module, args: Any, inputs: dict[str, Tensor]) -> tuple[Any, Any]:
            self.stem.feed({name: inputs[f"_{name}"] for name in self.stem.names})
            return args, {key: value for key, value in inputs.items() if key[0] != "_"}

        handle = loss.register_forward_pre_hook(feed, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the model start above the frozen blocks within.

        Raises:
            RunError: If the frozen weights have changed at the end, so that the states were wrong.
        """
        with self.stem.left_out():
            yield
        if self.stem.fingerprint() != self.weights:
            raise RunError(
                "Weights below the cached states changed while training, so the run cannot be trusted. Use "
                "--cache off, and please report this."
            )

    @property
    def saved(self) -> float:
        """Seconds that the frozen blocks would have taken for all passes, less the seconds that they took."""
        if not self.tokens:
            return 0.0
        return self.seconds * self.served / self.tokens - self.seconds

    def __str__(self) -> str:
        what = "the token that the head reads" if self.pooled else "the states"
        size = f"{self.bytes / 1e6:.1f} MB, {self.plan.dtype}, {self.plan.kind}"
        if not self.tokens:
            how = "found from an earlier run"
        else:
            saved = round(max(0, self.saved))
            how = f"computed once in {self.seconds:.1f} s" + f", which saved about {saved} s" * (
                saved > 0
            )
        return f"cache: {what} above block {self.stem.blocks} ({size}), {how}"

    def record(self) -> dict[str, Any]:
        """Return the cache's entry in ``result.json``."""
        return {
            "kind": self.plan.kind,
            "dtype": self.plan.dtype,
            "blocks": self.stem.blocks,
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
        about = (self.weights, self.pooled, self.accelerator.mixed_precision)
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
                    "ever the same twice and nothing can be cached. Use --cache off."
                )

    def _entry(self, split: str, lengths: np.ndarray, plan: CachePlan) -> Entry:
        return Entry(
            weights=self.weights,
            key=self.keys[split],
            widths=self.stem.widths,
            rows=np.ones_like(lengths) if self.pooled else lengths,
            dtype=plan.dtype,
            about=f"{many(len(lengths), 'text')} above block {self.stem.blocks}, {plan.dtype}",
        )

    def _make(self, entry: Entry, batches: LengthBatches, lengths: np.ndarray) -> Arrays:
        if self.plan.kind == "memory":
            arrays = entry.arrays(None)
            self._compute(batches, lengths, arrays)
            entry.keep(arrays)
            return arrays
        draft = Draft(entry, self.accelerator)
        try:
            self._compute(batches, lengths, draft.arrays)
        except BaseException:  # an interrupt too
            draft.drop()
            raise
        return draft.publish()

    @torch.no_grad()
    def _compute(self, batches: Batches, lengths: np.ndarray, arrays: Arrays) -> None:
        largest = 0.0
        for batch in batches.epoch(0):
            for name, values in self._states(batch).items():
                largest = max(largest, float(np.abs(values).max()))
                with np.errstate(over="ignore"):  # reported below, for all processes together
                    for row, index in enumerate(batch.indices):
                        arrays[name].put(index, self._part(values[row], int(lengths[index])))
            if self.bar is not None:
                self.bar.update(batch.size)
        if max(gather([largest], self.accelerator)) > float(np.finfo(self.plan.dtype).max):
            raise TooLarge
        for array in arrays.values():
            array.flush()

    @torch.no_grad()
    def _states(self, batch: Batch) -> dict[str, np.ndarray]:
        model, inputs = self.stem.model, batch.to(self.accelerator.device).inputs
        was = model.training
        model.eval()
        with self.accelerator.autocast():
            states = self.stem.run(lambda: self.outputs(inputs))
        model.train(was)
        return {name: tensor.cpu().numpy() for name, tensor in states.items()}

    def _part(self, states: np.ndarray, length: int) -> np.ndarray:
        """Return those of a text's padded states that are kept."""
        if self.pooled is None:
            return states[:length]
        if self.pooled == "mean":
            return states[:length].mean(0, keepdims=True)
        return states[length - 1 : length] if self.pooled == "last" else states[:1]

    @torch.no_grad()
    def is_faithful(self, rows: Any, lengths: np.ndarray, collate: Collate) -> bool:
        """Whether the model gives the same outputs for some texts with its frozen blocks as with their states.

        Args:
            rows: Encoded texts.
            lengths: Their tokens.
            collate: Function that makes a batch of them.
        """
        chosen = np.linspace(0, len(lengths) - 1, min(SAMPLE, len(lengths))).astype(int).tolist()
        batch = Batch(collate([rows[i] for i in chosen], np.random.default_rng(0)), (), len(chosen))
        small = [_only_read(rows[i], self.pooled) if self.pooled else rows[i] for i in chosen]
        states = self._states(batch)
        fed = Batch(collate(small, np.random.default_rng(0)), (), len(chosen))
        kept = {
            name: self._kept(values, [int(lengths[i]) for i in chosen])
            for name, values in states.items()
        }
        model = self.stem.model
        was, device = model.training, self.accelerator.device
        model.eval()
        with self.accelerator.autocast():
            expected = self.outputs(batch.to(device).inputs)
            try:
                with self.stem.left_out():
                    self.stem.feed({name: tensor.to(device) for name, tensor in kept.items()})
                    found = self.outputs(fed.to(device).inputs)
            except (
                RunError,
                RuntimeError,
                IndexError,
                ValueError,
            ):  # Funnel takes no text of one token
                return False
            finally:
                model.train(was)
        return _alike(found, expected, batch.inputs["attention_mask"], self._share("float32"))

    def _kept(self, states: np.ndarray, lengths: Sequence[int]) -> Tensor:
        """Return what is kept of some texts' padded states, padded with zeros."""
        made = torch.zeros(len(states), 1 if self.pooled else states.shape[1], states.shape[2])
        for row, length in enumerate(lengths):
            part = torch.from_numpy(self._part(states[row], length))
            made[row, : len(part)] = part
        return made

    def _share(self, dtype: str) -> float:
        """Return the share of the largest number that rounding may change."""
        return TOLERANCE[dtype] if self.accelerator.mixed_precision == "no" else AUTOCAST_TOLERANCE

    def _agrees(self, arrays: Arrays, rows: Any, lengths: np.ndarray, collate: Collate) -> bool:
        """Compare some states with the live model's."""
        chosen = np.linspace(0, len(lengths) - 1, min(SAMPLE, len(lengths))).astype(int).tolist()
        inputs = collate([rows[i] for i in chosen], np.random.default_rng(0))
        live = self._states(Batch(inputs, tuple(chosen), len(chosen)))
        share = self._share(self.plan.dtype)
        for name, values in live.items():
            for row, index in enumerate(chosen):
                expected = self._part(values[row], int(lengths[index]))
                kept = arrays[name].padded([index])[0, : len(expected)].numpy()
                if not np.abs(kept - expected).max() <= share * max(1.0, np.abs(expected).max()):
                    return False
        return True


def _alike(found: Any, expected: Any, mask: Tensor, share: float) -> bool:
    """Whether a task's outputs are equal up to a share of the largest number, padding aside."""
    for name, tensor in expected.items():
        other = found[name]
        if tensor.shape != other.shape:
            return False
        if tensor.shape[:2] == mask.shape:
            real = mask.bool().to(tensor.device)
            tensor, other = tensor[real], other[real]
        finite = tensor.isfinite()
        largest = tensor[finite].abs().amax() if finite.any() else 0.0
        near = (tensor - other)[finite].abs() <= share * max(1.0, float(largest))
        if not (torch.equal(finite, other.isfinite()) and bool(near.all())):
            return False
    return True


def _only_read(row: Mapping[str, Any], pooled: str) -> Mapping[str, Any]:
    """Return a row with only one token, the one that the head reads if it reads one."""
    return {**row, "input_ids": [row["input_ids"][-1 if pooled == "last" else 0]]}


class _Fed:
    """Features whose rows know their number; if pooled, with only the token that the head reads."""

    def __init__(self, rows: Any, pooled: str | None) -> None:
        self.rows, self.pooled = rows, pooled
        self.small: dict[int, Mapping[str, Any]] = {}

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if index in self.small:
            return self.small[index]
        row = {**self.rows[index], "_index": index}
        if self.pooled:  # a few numbers: reading them again would take longer than the head does
            self.small[index] = row = _only_read(row, self.pooled)
        return row


def _fed_collate(collate: Collate, arrays: Arrays) -> Collate:
    def run(rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Mapping[str, Tensor]:
        indices = [row["_index"] for row in rows]
        states = {f"_{name}": array.padded(indices) for name, array in arrays.items()}
        return {**collate(rows, rng), **states}

    return run


class _Counted:
    """Batches of cached states that tell the cache how many tokens it served."""

    fed = True

    def __init__(self, batches: LengthBatches, lengths: np.ndarray, cache: StemCache) -> None:
        self.inner, self.lengths, self.cache = batches, lengths, cache

    def __len__(self) -> int:
        return len(self.inner)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.inner.epoch(number, start):
            self.cache.served += int(self.lengths[list(batch.indices)].sum())
            yield replace(batch, padding=0.0) if self.cache.pooled else batch
