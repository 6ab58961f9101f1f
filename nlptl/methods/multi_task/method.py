"""An arm of the study as a method: a task among others, or after another one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from nlptl.data.encoding import splits_hash
from nlptl.data.files import damage_of, seal_folder, write_json
from nlptl.methods.multi_task.tasks import Drawn, Member
from nlptl.models.adapters import merge_adapter
from nlptl.models.loading import save_pretrained
from nlptl.study.methods import identity_of
from nlptl.tasks.base import Task
from nlptl.train.finetune import finetune
from nlptl.train.machine import from_main
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs

#: Counts up when an arm computes something else.
VERSION = 1


@dataclass(frozen=True)
class Partner:
    """A task as the keys of others' kept runs know it.

    Attributes:
        task: Its task.
        data: Hash of its splits.
        args: Its hyper-parameters.
        steps: Its optimizer steps in an epoch of the mix.
    """

    task: Task
    data: str
    args: FinetuneArgs
    steps: int

    def identity(self) -> str:
        """Describe what of it the others' numbers depend on."""
        return json.dumps(
            [self.task.identity(), self.data, self.args.head, self.args.epochs, self.steps]
        )


@dataclass(frozen=True)
class InMix:
    """The place of a task in a mix, for the key of its kept outcome; the runs of all are made together.

    Attributes:
        number: Number of the task.
        partners: All tasks, this one among them.
    """

    number: int
    partners: tuple[Partner, ...]

    name = "mixed"

    def identity(self) -> str:
        """Name the mix, all its tasks in their order, and which of them this is."""
        each = [partner.identity() for partner in self.partners]
        return f"multi-task mixed {VERSION} {self.number} {json.dumps(each)}"


@dataclass(frozen=True)
class Chain:
    """Fine-tune on another task first, then on this one from that checkpoint (STILTs, Phang et al., 2018).

    It is what two commands do, the second one with the first one's ``model/`` as its ``--model``.

    Attributes:
        first: The other task.
        args: Its hyper-parameters; the study's arm sets model and seed.
        most: Number of its labels that a seed draws; None for all.
        folder: Directory that keeps the other task's models, a seed each, for all tasks that come after it;
            None keeps none.
    """

    first: Member
    args: FinetuneArgs
    most: int | None = None
    folder: Path | None = None

    name = "chain"

    def identity(self) -> str:
        """Name the method, the other task, its data and how it is trained."""
        args = replace(self.args, model="", seed=0, save_every=1)
        found = [self.first.task.identity(), splits_hash(self.first.splits), self.most]
        return f"multi-task chain {VERSION} {json.dumps(found)} {identity_of(args)}"

    def __call__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        args: FinetuneArgs,
        *,
        accelerator: Any,
        home: Path | None = None,
    ) -> Run:
        """Train on the other task, or take its model if that is kept, and then fine-tune."""
        from accelerate.utils import set_seed

        model, seconds = self._trained(args, accelerator, home)
        set_seed(args.seed)
        run = finetune(
            task,
            splits,
            replace(args, model=str(model)),
            accelerator=accelerator,
            checkpoint_dir=home and home / "second",
            resume=home is not None,
        )
        run.measured = {"first_seconds": seconds}
        return run

    def _trained(
        self, args: FinetuneArgs, accelerator: Any, home: Path | None
    ) -> tuple[Path, float]:
        """Return the directory of the other task's model, and the seconds of its training."""
        own = replace(self.args, model=args.model, seed=args.seed, save_every=args.save_every)
        parent = self.folder or home or Path(from_main(mkdtemp(prefix="nlptl_chain_"), accelerator))
        folder, about = parent / f"first-{args.seed}", parent / f"first-{args.seed}.json"
        key = f"{self.identity()} {args.seed}"
        found = _read(about)
        if from_main(found.get("key") == key and damage_of(folder) is None, accelerator):
            return folder, float(found["seconds"])
        splits = self.first.splits
        if self.most is not None:
            splits = Drawn(self.most)(self.first.task, splits, args.seed)
        run = finetune(
            self.first.task,
            splits,
            own,
            accelerator=accelerator,
            checkpoint_dir=home and home / "first",
            resume=home is not None,
        )
        seconds = run.timing["train_seconds"]
        if accelerator.is_main_process:
            save_pretrained(merge_adapter(run.model.to("cpu")), run.tokenizer, folder)
            seal_folder(folder)
            write_json(about, {"key": key, "seconds": seconds})
        accelerator.wait_for_everyone()
        return folder, seconds


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def partners_of(
    members: Sequence[Member],
    hashes: Sequence[str],
    args: Sequence[FinetuneArgs],
    steps: Sequence[int],
) -> tuple[Partner, ...]:
    """Put together what the keys of a mix's outcomes depend on."""
    rows = zip(members, hashes, args, steps, strict=True)
    return tuple(Partner(member.task, data, own, count) for member, data, own, count in rows)
