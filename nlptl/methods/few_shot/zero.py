"""Methods without labels: which of them a checkpoint allows, and their answers as runs of a study."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from nlptl.errors import ConfigError, ModelError, Problems, UserError, listed
from nlptl.methods.few_shot.options import ENTAILMENT, NAMES, PROMPT, TEMPLATES, ZERO
from nlptl.models.loading import load_config, load_tokenizer, load_trained
from nlptl.models.tokenizer import longest_input
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.report.zero_shot import (
    check_room,
    check_template,
    entailment_index,
    entailment_scores,
    name_scores,
    prompt_scores,
    prompt_words,
)
from nlptl.stats.bootstrap import scores_of
from nlptl.study.outcomes import class_statistics, combine_of
from nlptl.tasks.base import Task
from nlptl.train.finetune import settings_record
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs

#: Counts up when a method computes something else.
VERSION = 1


@dataclass(frozen=True)
class ZeroShot:
    """A method without labels.

    Attributes:
        name: ``label-names``, ``entailment`` or ``prompt``.
        templates: Sentences with one {} for the name of a class; their answers are averaged.
        words: Words for classes, ``(label, words)`` each.
        model: Checkpoint of entailment and prompt; None takes the study's.
    """

    name: str
    templates: tuple[str, ...]
    words: tuple[tuple[str, str], ...] = ()
    model: str | None = None

    def __call__(
        self, task: Task, splits: Mapping[str, Any], args: FinetuneArgs, *, accelerator: Any
    ) -> Run:
        """Answer the test texts; nothing is trained, and no label is read before the answers are there."""
        began = time.perf_counter()
        test = splits["test"].select_columns(list(task.fields))
        scores = self.scores(task.texts(test), task.labels, args, accelerator)
        predicted = [[task.labels[i] for i in one.argmax(1)] for one in (scores.mean(0), *scores)]
        seconds = time.perf_counter() - began
        each = [class_statistics(task, splits, one) for one in predicted]
        points = [float(scores_of(one, combine_of(task))) for one in each]
        records = task.constant_predictions(splits["train"], splits["test"])
        answers = [
            {**record, "prediction": name, "scores": {name: 1.0}}
            for record, name in zip(records, predicted[0], strict=True)
        ]
        return Run(
            task=task,
            model=nn.Module(),
            tokenizer=None,
            judge=None,
            check_batch=None,  # type: ignore[arg-type]
            metrics=task.score(answers),
            num_examples={name: len(table) for name, table in splits.items()},
            history=[],
            timing={"train_seconds": seconds},
            settings=settings_record(args),
            lr_history=[],
            predictions=answers,
            measured={"templates": dict(zip(self.templates, points[1:], strict=True))},
        )

    def scores(
        self, texts: Sequence[str], labels: Sequence[str], args: FinetuneArgs, accelerator: Any
    ) -> np.ndarray:
        """Score the classes of texts, ``(templates, texts, labels)``: by :mod:`nlptl.report.zero_shot`."""
        about: dict[str, Any] = {"accelerator": accelerator, "templates": self.templates}
        about["words"] = dict(self.words)
        if self.name == NAMES:
            return name_scores(args.model, texts, labels, max_length=args.max_length, **about)
        function = entailment_scores if self.name == ENTAILMENT else prompt_scores
        return function(self.model or args.model, texts, labels, **about)

    def identity(self) -> str:
        """Name the method, its version, templates and words, and the checkpoint if it is another one."""
        from nlptl.models.identity import checkpoint_hash

        own = {"templates": self.templates, "words": self.words}
        other = checkpoint_hash(self.model) if self.model and self.name != NAMES else ""
        return f"few-shot {self.name} {VERSION} {json.dumps(own, sort_keys=True)} {other}"


def zero_method(config: Any, name: str) -> ZeroShot:
    """Make a method without labels as the flags say."""
    templates = tuple(config.templates) or TEMPLATES[name]
    words = tuple(tuple(word.split("=", 1)) for word in config.label_words)
    return ZeroShot(name, templates, words, config.zero_model if name != NAMES else None)  # type: ignore[arg-type]


def check_words(config: Any) -> None:
    """Make sure that templates and words for labels have their form.

    Raises:
        UserError: With all that have not.
    """
    problems = Problems()
    for template in config.templates:
        problems.run(check_template, template)
    for word in config.label_words:
        if not all(word.partition("=")):
            problems.add(f"--label-words {word}: expected LABEL=WORDS.")
    problems.raise_if_any()


def zero_methods(config: Any, task: Task) -> tuple[list[str], list[str]]:
    """List the methods without labels that a study has: those asked for, or those that can be had.

    Returns:
        The methods, and why others are left out.

    Raises:
        UserError: If one that was asked for cannot be had.
    """
    problems = Problems()
    words = dict(word.split("=", 1) for word in config.label_words if "=" in word)
    for label in words:
        if label not in task.labels:
            problems.add(
                f"--label-words {label}=…: there is no such label. There are: {listed(task.labels)}."
            )
    asked = [name for name in config.methods if name in ZERO]
    if "0" not in config.shots:
        asked = []
    found: list[str] = []
    left_out: list[str] = []
    for name in asked or ([] if config.methods or "0" not in config.shots else ZERO):
        try:
            check_zero(name, config, task, words)
            found.append(name)
        except UserError as error:
            why = str(error).rstrip(".")
            left_out.append(f"{name} is left out: {why}.")
            if asked:
                problems.add(f"--methods {name}: {why}. Leave it out{_other(name)}.")
    problems.raise_if_any()
    return found, left_out


def _other(name: str) -> str:
    words = ", give other words with --label-words" if name == PROMPT else ""
    return "" if name == NAMES else f"{words}, or give --zero-model a checkpoint that can"


def check_zero(name: str, config: Any, task: Task, words: Mapping[str, str]) -> None:
    """Make sure that a method without labels can be had of the checkpoint that it asks.

    Raises:
        UserError: If not, with the reason.
    """
    if len(task.fields) > 1:
        raise ConfigError(f"it reads one text, and the task has {listed(task.fields)}")
    spoken = [words.get(label, label).lower() for label in task.labels]
    if len(set(spoken)) < len(spoken):
        raise ConfigError(f"several classes have the same words ({listed(spoken)})")
    flag = "--zero-model" if config.zero_model else "--model"
    model = config.zero_model or config.model
    if name == NAMES:
        return
    config_of_model = load_config(model, flag=flag)
    if name == ENTAILMENT:
        entailment_index(config_of_model)
    tokenizer = load_tokenizer(model, split_special_tokens=name == ENTAILMENT, flag=flag)
    inside = spoken if name == ENTAILMENT else [tokenizer.mask_token or ""]
    sentences = [
        template.replace("{}", word)
        for template in zero_method(config, name).templates
        for word in inside
    ]
    check_room(tokenizer, longest_input(config_of_model, tokenizer, None), sentences)
    if name == PROMPT:
        if tokenizer.mask_token_id is None:
            raise ModelError(f"{model} has no mask that it fills in")
        prompt_words(task.labels, tokenizer, words)
        load_trained(model, MaskedLM().auto_class)
