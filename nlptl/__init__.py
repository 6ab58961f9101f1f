"""nlptl: train exactly as much of a pretrained language model as a task needs.

The names below are loaded when they are first used, so that ``import nlptl`` takes almost no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlptl.cli.config import PretrainConfig, QAConfig, SentimentConfig
    from nlptl.cli.fit import fit
    from nlptl.cli.fitted import FittedRun, load_run
    from nlptl.data.batching import Zipped
    from nlptl.models.layer_map import layer_map
    from nlptl.models.loading import load_with_head
    from nlptl.modes.adapters import lora
    from nlptl.modes.base import Mode, Stage, apply_mode, parse_mode
    from nlptl.modes.definition import freeze, mode, thaw
    from nlptl.modes.freezing import freeze_lower, freeze_parts, full, head_only
    from nlptl.pretrain.held_out import pseudo_perplexity, upstream_loss
    from nlptl.report.report import Finished, TransferReport, score_transfer
    from nlptl.runs.directory import save_run
    from nlptl.runs.predictor import Predictor, load_predictor
    from nlptl.study.arms import ArmSpec
    from nlptl.study.methods import get_method, register_method
    from nlptl.study.study import Study
    from nlptl.tasks import register_task
    from nlptl.tasks.base import EncodedSplit, Task
    from nlptl.tasks.classification import TextClassification
    from nlptl.tasks.question_answering import QuestionAnswering
    from nlptl.train.finetune import finetune
    from nlptl.train.learner import Learner
    from nlptl.train.losses import Loss, Plus, TaskLoss
    from nlptl.train.run import Run
    from nlptl.train.setup import FinetuneArgs, new_accelerator, start_accelerator
    from nlptl.train.stem_cache.store import free_states

_HOME = {
    "ArmSpec": "nlptl.study.arms",
    "EncodedSplit": "nlptl.tasks.base",
    "FinetuneArgs": "nlptl.train.setup",
    "Finished": "nlptl.report.report",
    "FittedRun": "nlptl.cli.fitted",
    "Learner": "nlptl.train.learner",
    "Loss": "nlptl.train.losses",
    "Mode": "nlptl.modes.base",
    "Plus": "nlptl.train.losses",
    "Predictor": "nlptl.runs.predictor",
    "PretrainConfig": "nlptl.cli.config",
    "QAConfig": "nlptl.cli.config",
    "QuestionAnswering": "nlptl.tasks.question_answering",
    "Run": "nlptl.train.run",
    "SentimentConfig": "nlptl.cli.config",
    "Stage": "nlptl.modes.base",
    "Study": "nlptl.study.study",
    "Task": "nlptl.tasks.base",
    "TaskLoss": "nlptl.train.losses",
    "TextClassification": "nlptl.tasks.classification",
    "TransferReport": "nlptl.report.report",
    "Zipped": "nlptl.data.batching",
    "apply_mode": "nlptl.modes.base",
    "finetune": "nlptl.train.finetune",
    "fit": "nlptl.cli.fit",
    "free_states": "nlptl.train.stem_cache.store",
    "freeze": "nlptl.modes.definition",
    "freeze_lower": "nlptl.modes.freezing",
    "freeze_parts": "nlptl.modes.freezing",
    "full": "nlptl.modes.freezing",
    "get_method": "nlptl.study.methods",
    "head_only": "nlptl.modes.freezing",
    "layer_map": "nlptl.models.layer_map",
    "load_predictor": "nlptl.runs.predictor",
    "load_run": "nlptl.cli.fitted",
    "load_with_head": "nlptl.models.loading",
    "lora": "nlptl.modes.adapters",
    "mode": "nlptl.modes.definition",
    "new_accelerator": "nlptl.train.setup",
    "parse_mode": "nlptl.modes.base",
    "pseudo_perplexity": "nlptl.pretrain.held_out",
    "register_method": "nlptl.study.methods",
    "register_task": "nlptl.tasks",
    "save_run": "nlptl.runs.directory",
    "score_transfer": "nlptl.report.report",
    "start_accelerator": "nlptl.train.setup",
    "thaw": "nlptl.modes.definition",
    "upstream_loss": "nlptl.pretrain.held_out",
}

__all__ = [
    "ArmSpec",
    "EncodedSplit",
    "FinetuneArgs",
    "Finished",
    "FittedRun",
    "Learner",
    "Loss",
    "Mode",
    "Plus",
    "Predictor",
    "PretrainConfig",
    "QAConfig",
    "QuestionAnswering",
    "Run",
    "SentimentConfig",
    "Stage",
    "Study",
    "Task",
    "TaskLoss",
    "TextClassification",
    "TransferReport",
    "Zipped",
    "apply_mode",
    "finetune",
    "fit",
    "free_states",
    "freeze",
    "freeze_lower",
    "freeze_parts",
    "full",
    "get_method",
    "head_only",
    "layer_map",
    "load_predictor",
    "load_run",
    "load_with_head",
    "lora",
    "mode",
    "new_accelerator",
    "parse_mode",
    "pseudo_perplexity",
    "register_method",
    "register_task",
    "save_run",
    "score_transfer",
    "start_accelerator",
    "thaw",
    "upstream_loss",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'nlptl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
