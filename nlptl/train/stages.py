"""A fit under a mode with stages: one plain mode after the other, each with a fresh optimizer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from nlptl.data.files import damage_of, seal_folder, write_json
from nlptl.models.adapters import merge_adapter, unwrap_peft
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import stage_steps
from nlptl.records import Clock, FitState, Hook
from nlptl.train.checkpoints import check_about, load_trainable_state, trainable_state
from nlptl.train.losses import Loss, TaskLoss
from nlptl.train.setup import TrainArgs
from nlptl.train.terminal import say

if TYPE_CHECKING:
    from nlptl.train.learner import Learner

#: Files that a finished stage leaves: its weights, then its record, which shows that both are whole.
WEIGHTS, DONE = "done.safetensors", "done.json"


def fit_stages(
    learner: "Learner",
    data: Any,
    loss: Loss | Callable[["Learner"], Loss] | None,
    *,
    validation: Any,
    plan: TrainArgs | None,
    hooks: Sequence[Hook],
    home: Path | None,
    resume: bool,
) -> FitState:
    """Train under each stage's mode, in their order; see :meth:`nlptl.train.learner.Learner.fit`.

    The steps are divided by the stages' shares. Each stage keeps its best epoch, and has its own warm-up and
    decay and its own checkpoints under ``stage-<number>``; a resumed run reads what the finished stages left.
    Adapters are merged into the weights before the next stage.

    Returns:
        The last stage's state, with the rates and examples of all.
    """
    from accelerate.utils import set_seed

    whole = learner.current
    assert whole is not None  # only a mode has stages
    history: list[dict[str, Any]] = []
    searches: list[dict[str, Any]] = []
    rates: list[float] = []
    examples, flops, state, seconds, begun = 0, 0.0, None, [0.0, 0.0], 0
    stream = data if hasattr(data, "epoch") else learner.batches(data, seed=0)
    plan = plan or learner.args.plan(len(stream))
    per_epoch = ceil(len(stream) / plan.gradient_accumulation_steps)
    config = unwrap_peft(learner.model).config
    stages = whole.stages(len(layer_map(unwrap_peft(learner.model)).blocks))
    about = learner.about(data, validation) if home else {}
    if type(loss) is TaskLoss:  # the next stage may wrap another model, and makes its own
        loss = None
    for number, steps in enumerate(stage_steps(plan.steps, stages)):
        stage = stages[number]
        learner.model = merge_adapter(learner.model)  # what the stage before learned stays
        # What a mode draws (LoRA's matrices) may not depend on whether the stages before ran or were read.
        set_seed(learner.args.seed)
        learner.mode(stage.mode)
        folder = home / f"stage-{number}" if home else None
        if resume and folder and finished(folder):
            kept = read_stage(learner, folder, about)
        else:
            say(f"stage {number + 1} of {len(stages)}: {learner.manifest}")
            own = replace(
                plan,
                steps=steps,
                learning_rate=plan.learning_rate * stage.factor(whole, config),
                first_epoch=begun,  # where a stage is shorter than an epoch, the next sees other examples
            )
            state = learner.fit(
                data,
                loss=loss,
                validation=validation,
                plan=own,
                hooks=hooks,
                home=folder,
                resume=resume,
            )
            kept = {
                "history": [{"stage": number + 1, **line} for line in learner.history],
                "best": learner.best,
                "fitted": learner.head_fitted,
                "head_rates": learner.head_rates,
                "flops": learner.flops,
                "searches": learner.searches,
                "lr_history": state.lr_history,
                "examples": state.examples,
                "seconds": [state.clock.training, state.clock.scoring],
            }
            if folder:
                keep_stage(learner, folder, {**kept, "about": about})
        begun += ceil(steps / per_epoch)
        learner.best = len(history) + kept["best"]
        history += kept["history"]
        searches += kept["searches"]
        rates += kept["lr_history"]
        examples, flops = examples + kept["examples"], flops + kept["flops"]
        seconds = [one + two for one, two in zip(seconds, kept["seconds"], strict=True)]
    learner.current, learner.history, learner.flops = whole, history, flops
    learner.searches = searches
    if state is None:  # all were finished before
        state = FitState(learner.loss(), {}, len(rates), 1)
    state.step, state.lr_history, state.examples = len(rates), rates, examples
    state.clock = Clock()
    state.clock.add(training=seconds[0], scoring=seconds[1])
    return state


def keep_stage(learner: "Learner", folder: Path, record: dict[str, Any]) -> None:
    """Write what a stage leaves, whole or not at all."""
    if learner.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{WEIGHTS}"
        save_file(trainable_state(learner.model), partial)
        partial.replace(folder / WEIGHTS)
        write_json(folder / DONE, record)
        seal_folder(folder)
    learner.accelerator.wait_for_everyone()


def finished(folder: Path) -> bool:
    """Whether a stage left its weights and its record, undamaged; a line names a damaged one."""
    if not (folder / DONE).exists():
        return False
    if damage := damage_of(folder):
        say(f"note: {folder} is damaged ({damage}); the stage is trained again.")
    return damage is None


def read_stage(learner: "Learner", folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Load the weights that a finished stage left, and return its record.

    Raises:
        ConfigError: If it was trained on other data, or with other labels.
    """
    record = json.loads((folder / DONE).read_text("utf-8"))
    check_about(folder, record["about"], about)
    load_trainable_state(learner.model, load_file(folder / WEIGHTS))
    learner.head_started, learner.head_fitted = True, record["fitted"]
    # A stage from before the dense layer had a rate of its own goes on as it began.
    learner.head_rates = record.get("head_rates", {})
    return record
