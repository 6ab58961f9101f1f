"""Training of several tasks at once: one body, a head each, and of each task the epoch that it prefers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nlptl.data.encoding import splits_hash
from nlptl.methods.multi_task.batches import Mixed
from nlptl.methods.multi_task.sharing import own_body, share_body
from nlptl.methods.multi_task.terms import MixedLoss
from nlptl.models.flops import training_flops
from nlptl.records import Clock, FitState
from nlptl.tasks.base import Task
from nlptl.train.checkpoints import load_trainable_state
from nlptl.train.finetune import finished
from nlptl.train.head import rate_groups
from nlptl.train.hooks import KeepBest, Quiet
from nlptl.train.keeping import keep_best
from nlptl.train.learner import Learner
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs, TrainArgs, seed_dropout
from nlptl.train.terminal import say


@dataclass(frozen=True)
class Share:
    """A task's part in the mix.

    Attributes:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``.
        args: Checkpoint, mode and hyper-parameters; the same for all but the head's start.
        steps: Its optimizer steps in an epoch of the mix.
    """

    task: Task
    splits: Mapping[str, Any]
    args: FinetuneArgs
    steps: int


class KeepEach(Quiet):
    """Hook that keeps for each task the epoch that its own validation data choose.

    Training stops early when every task has waited long enough.

    Args:
        keepers: A hook for each task, which keeps the weights of its own model.
    """

    def __init__(self, keepers: Sequence[KeepBest]) -> None:
        self.keepers = list(keepers)

    def on_start(self, state: FitState) -> None:
        """Score what is a model already."""
        for keeper in self.keepers:
            keeper.on_start(state)

    def on_epoch(self, state: FitState) -> bool:
        """Score each task; ask to stop if all of them would."""
        return all([keeper.on_epoch(state) for keeper in self.keepers])

    def on_end(self, state: FitState) -> None:
        """Load the weights that were kept; of several tasks the last one's body is in the model then."""
        for keeper in self.keepers:
            keeper.on_end(state)

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what each task's hook remembers, for a checkpoint."""
        values, tensors = zip(*(keeper.memory() for keeper in self.keepers), strict=True)
        named = {f"{i}/{name}": t for i, own in enumerate(tensors) for name, t in own.items()}
        return {"each": list(values)}, named

    def remember(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take it back."""
        for number, (keeper, own) in enumerate(zip(self.keepers, values["each"], strict=True)):
            start = f"{number}/"
            mine = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            keeper.remember(own, mine)


def train_mixed(
    shares: Sequence[Share],
    *,
    accelerator: Any,
    home: Path | None = None,
    made: Callable[[int, Run], None] | None = None,
) -> list[Run]:
    """Train several tasks at once, choose each one's epoch on its validation data, and score its test set.

    All models start from the checkpoint under the same seed, so that each task's head starts as it does alone.
    With a single task this is plain fine-tuning, bit for bit.

    Args:
        shares: The tasks; the first one's body is the common one.
        accelerator: Accelerator of the run.
        home: Directory of the checkpoints, from which the run goes on; None writes none.
        made: Gets the number of each task and its run.

    Returns:
        A run for each task, each with a body of its own: the common one, as it was in the task's best epoch.
    """
    learners = start_learners(shares, accelerator)
    tables = [share.splits["train"] for share in shares]
    loss = MixedLoss([learner.loss() for learner in learners])
    for learner, share in zip(learners, shares, strict=True):
        own = {name: share.splits[name] for name in ("train", "validation")}
        learner.prepare(own, loss)
    heads = [learner.start_head(table) for learner, table in zip(learners, tables, strict=True)]
    first, args, several = learners[0], shares[0].args, len(shares) > 1
    mix = Mixed(
        [
            learner.batches(table, seed=args.seed)
            for learner, table in zip(learners, tables, strict=True)
        ],
        [share.steps for share in shares],
        seed=args.seed,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
    )
    keeper = KeepEach(
        [
            keep_best(learner, share.splits["validation"], alone=not several)
            for learner, share in zip(learners, shares, strict=True)
        ]
    )
    first.known = about(shares)
    with ExitStack() as stack:
        for learner in learners[1:]:
            stack.enter_context(learner.one_token())
        state = first.fit(
            mix,
            loss=loss,
            plan=plan_of(learners, mix),
            hooks=[keeper],
            home=home and home / "checkpoints",
            resume=home is not None,
        )
    state.clock.add(training=sum(one.seconds for one in heads if one), scoring=0.0)
    return runs_of(learners, shares, keeper, mix, state, made)


def start_learners(shares: Sequence[Share], accelerator: Any) -> list[Learner]:
    """Load the checkpoint once a task, under its mode, and let all models share the first one's body."""
    from accelerate.utils import set_seed

    learners = []
    for share in shares:
        set_seed(share.args.seed)
        learners.append(Learner(share.task, share.args, accelerator).mode(share.args.mode))
    first = learners[0]
    for other in learners[1:]:
        share_body(first.model, other.model)
    say(first.manifest)
    seed_dropout(accelerator, first.args.seed)
    return learners


def about(shares: Sequence[Share]) -> dict[str, Any]:
    """Return what a resumed run must have in common with its checkpoints: labels, a hash of the data."""
    names = [list(getattr(share.task, "labels", None) or []) for share in shares]
    kept = ("train", "validation")
    hashes = [splits_hash({name: share.splits[name] for name in kept}) for share in shares]
    return {"labels": [name for each in names for name in each], "data": hashes}


def plan_of(learners: Sequence[Learner], mix: Mixed) -> TrainArgs | None:
    """Return the plan of several tasks whose parameters have rates of their own; else None, the usual plan."""
    first = learners[0]
    found = [rate_groups(learner) for learner in learners]
    if len(learners) == 1 or not any(found):
        return None
    groups, known = [], set()
    for group in (one for each in found for one in each or ()):
        own = [p for p in group["params"] if id(p) not in known]
        known |= {id(p) for p in own}
        groups += [{**group, "params": own}] * bool(own)
    return replace(first.args.plan(len(mix)), groups=groups)


def runs_of(
    learners: Sequence[Learner],
    shares: Sequence[Share],
    keeper: KeepEach,
    mix: Mixed,
    state: FitState,
    made: Callable[[int, Run], None] | None,
) -> list[Run]:
    """Score each task with the weights of its own best epoch; see :func:`train_mixed`."""
    seconds, scoring = state.clock.training, state.clock.scoring
    whole, rest = divmod(state.step, state.steps_per_epoch)
    seen = mix.seen(whole * len(mix) + min(rest * mix.together, len(mix)))
    first, runs = learners[0], []
    if len(learners) > 1:  # a single one has its best epoch's weights already
        for learner in learners:
            own_body(learner.model)
        for learner, kept in zip(learners, keeper.keepers, strict=True):
            load_trainable_state(learner.model, kept.weights)
    for number, (learner, share) in enumerate(zip(learners, shares, strict=True)):
        kept, stream = keeper.keepers[number], mix.streams[number]
        learner.history, learner.best = kept.history, kept.best or 0
        learner.searches, learner.identity = first.searches, first.identity
        learner.args = replace(learner.args, learning_rate=first.args.learning_rate)
        part, passes = seen[number] / sum(seen), seen[number] / len(stream)
        learner.flops = training_flops(
            learner.model,
            learner.encoded["train"].lengths,
            passes,
            cached=mix.fed,
            pooled=share.task.pooled,
            looks=int(learner.head is not None),
        )
        clock = Clock()
        clock.add(training=part * seconds, scoring=part * scoring)
        own = replace(
            state, clock=clock, examples=round(passes * len(learner.encoded["train"].rows))
        )
        noted = {"batches": seen, "mix_seconds": round(seconds, 3)}
        runs.append(finished(learner, own, share.splits, measured=noted))
        if made:
            made(number, runs[-1])
    return runs
