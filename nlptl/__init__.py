"""nlptl: train exactly as much of a pretrained language model as a task needs.

The names below are loaded when they are first used, so that ``import nlptl`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlptl.cache.store import free_states
    from nlptl.config import PretrainConfig, QAConfig, SentimentConfig
    from nlptl.engine.setup import new_accelerator, start_accelerator
    from nlptl.evaluation.report import TransferReport, score_transfer
    from nlptl.evaluation.upstream import pseudo_perplexity, upstream_loss
    from nlptl.finetuning import FineTuned, Settings, finetune
    from nlptl.models.layer_map import layer_map
    from nlptl.models.loading import load_with_head
    from nlptl.modes import apply_mode, freeze_lower, full, head_only, lora, parse_mode
    from nlptl.predictors import Predictor, load_predictor
    from nlptl.runs import save_run
    from nlptl.tasks.base import Features, Task
    from nlptl.tasks.qa import QuestionAnswering
    from nlptl.tasks.sentiment import Sentiment

_HOME = {
    "Features": "nlptl.tasks.base",
    "FineTuned": "nlptl.finetuning",
    "Predictor": "nlptl.predictors",
    "PretrainConfig": "nlptl.config",
    "QAConfig": "nlptl.config",
    "QuestionAnswering": "nlptl.tasks.qa",
    "Sentiment": "nlptl.tasks.sentiment",
    "SentimentConfig": "nlptl.config",
    "Settings": "nlptl.finetuning",
    "Task": "nlptl.tasks.base",
    "TransferReport": "nlptl.evaluation.report",
    "apply_mode": "nlptl.modes",
    "finetune": "nlptl.finetuning",
    "free_states": "nlptl.cache.store",
    "freeze_lower": "nlptl.modes",
    "full": "nlptl.modes",
    "head_only": "nlptl.modes",
    "layer_map": "nlptl.models.layer_map",
    "load_predictor": "nlptl.predictors",
    "load_with_head": "nlptl.models.loading",
    "lora": "nlptl.modes",
    "new_accelerator": "nlptl.engine.setup",
    "parse_mode": "nlptl.modes",
    "pseudo_perplexity": "nlptl.evaluation.upstream",
    "save_run": "nlptl.runs",
    "score_transfer": "nlptl.evaluation.report",
    "start_accelerator": "nlptl.engine.setup",
    "upstream_loss": "nlptl.evaluation.upstream",
}

__all__ = [
    "Features",
    "FineTuned",
    "Predictor",
    "PretrainConfig",
    "QAConfig",
    "QuestionAnswering",
    "Sentiment",
    "SentimentConfig",
    "Settings",
    "Task",
    "TransferReport",
    "apply_mode",
    "finetune",
    "free_states",
    "freeze_lower",
    "full",
    "head_only",
    "layer_map",
    "load_predictor",
    "load_with_head",
    "lora",
    "new_accelerator",
    "parse_mode",
    "pseudo_perplexity",
    "save_run",
    "score_transfer",
    "start_accelerator",
    "upstream_loss",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'nlptl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
