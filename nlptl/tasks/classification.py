"""TextClassification, and any other classification of single texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.columns import check_labels, check_texts, find_column, label_name
from nlptl.data.encoding import encode_texts, map_tokenized, numbers_of
from nlptl.data.padding import pad, real_tokens
from nlptl.data.sampling import carve_missing, limit
from nlptl.data.sources import load_asked
from nlptl.errors import DataError, Problems
from nlptl.records import Collate
from nlptl.tasks.base import Features


def balanced_weights(labels: Sequence[str], classes: Sequence[str]) -> tuple[float, ...]:
    """Weight classes by n / (K * n_k), so that all count alike (King & Zeng, 2001; scikit-learn).

    Args:
        labels: The training set's class names.
        classes: Names in the order of the weights.
    """
    counts = {name: 0 for name in classes}
    for label in labels:
        counts[label] += 1
    return tuple(len(labels) / (len(classes) * max(1, counts[name])) for name in classes)


@cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Copied once, because a GPU is waited for at each copy."""
    return torch.tensor(values, device=device)


@dataclass(frozen=True)
class TextClassification:
    """Classification of single texts into any number of classes.

    Attributes:
        labels: Names of the classes, in the order of the model's outputs.
        text_column: The dataset's column of texts.
        label_column: The dataset's column of labels.
        names: Names of integer labels, where the dataset brings them.
        class_weights: Weight of each class in the loss; None for equal ones.
    """

    labels: tuple[str, ...]
    text_column: str = "text"
    label_column: str = "label"
    names: tuple[str, ...] | None = None
    class_weights: tuple[float, ...] | None = None

    name = "sentiment"
    selection = "accuracy"
    scale = 1.0
    peft_type = "SEQ_CLS"
    usual_length = 512
    too_long = "Texts longer than {limit} tokens"
    calibrates = False
    fields = ("text",)
    pooled = True

    @property
    def auto_class(self) -> Any:
        """``AutoModelForSequenceClassification``."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    @classmethod
    def of_checkpoint(cls, config: Any, settings: Mapping[str, Any]) -> "TextClassification":
        """The task of a fine-tuned checkpoint: its configuration names the classes."""
        return cls(tuple(config.id2label[i] for i in range(config.num_labels)))

    @property
    def head(self) -> dict[str, Any]:
        """As many outputs as classes, under their names."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: i for i, name in enumerate(self.labels)},
            "problem_type": "single_label_classification",
        }

    def gold(self, table: Any) -> list[str]:
        """Class names of a dataset's rows."""
        return [str(label_name(value, self.names)) for value in table[self.label_column][:]]

    def encode(self, table: Any, tokenizer: Any, max_length: int) -> Features:
        """Tokenize; a longer text keeps its beginning. Kept (:func:`nlptl.data.encoding.map_kept`)."""
        index = {name: i for i, name in enumerate(self.labels)}
        labelled = self.label_column in table.column_names

        def tokenize(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
            ids, cut = encode_texts(batch[self.text_column], tokenizer, max_length=max_length)
            lengths = [len(row) for row in ids]
            made: dict[str, list[Any]] = {"input_ids": ids, "length": lengths, "cut": cut}
            if labelled:
                names = [label_name(value, self.names) for value in batch[self.label_column]]
                made["class"] = [index.get(str(name), -100) for name in names]
            return made

        used = table.select_columns([self.text_column, *[self.label_column] * labelled])
        meaning = (self.labels, self.names, self.text_column, self.label_column)
        rows = map_tokenized(used, tokenize, tokenizer, max_length, meaning, "texts-4")
        return Features(rows, numbers_of(rows, "length"), int(np.sum(numbers_of(rows, "cut"))))

    def collator(self, tokenizer: Any) -> Collate:
        """Pad to the longest text of the batch: ids and mask ``(batch, length)``, labels ``(batch,)``.

        ``size``, a single number, is the sum of the labels' weights; how many they are, where all weigh 1.
        """
        weights = torch.tensor(self.class_weights or [1.0] * len(self.labels))

        def collate(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            batch = {
                "input_ids": torch.from_numpy(pad(features, "input_ids", tokenizer.pad_token_id)),
                "attention_mask": torch.from_numpy(real_tokens(features).astype(np.int64)),
            }
            if "class" in features[0]:
                labels = batch["labels"] = torch.tensor([feature["class"] for feature in features])
                batch["size"] = weights[labels[labels >= 0]].sum()
            return batch

        return collate

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``logits``, shape ``(batch, classes)``, float32."""
        given = {key: value for key, value in inputs.items() if key not in ("labels", "size")}
        return {"logits": model(**given).logits.float()}

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Cross-entropy, weighted by class if asked; its size is the sum of the weights."""
        logits, labels, weights = outputs["logits"], inputs["labels"], None
        if self.class_weights is not None:
            weights = _on_device(self.class_weights, logits.device)
        return nn.functional.cross_entropy(logits, labels, weights), float(inputs["size"])

    def predictions(
        self, table: Any, features: Features, outputs: Mapping[str, Sequence[np.ndarray]]
    ) -> list[dict[str, Any]]:
        """Most probable class, probabilities by class, and the gold class, for each text."""
        logits = torch.from_numpy(np.stack(list(outputs["logits"])))
        shares = logits.double().softmax(-1).tolist()
        ids = table["id"][:] if "id" in table.column_names else range(len(table))
        gold = self.gold(table) if self.label_column in table.column_names else [None] * len(table)
        return [
            {
                "id": i,
                "prediction": self.labels[int(np.argmax(row))],
                "scores": dict(zip(self.labels, row, strict=True)),
                "gold": true,
            }
            for i, row, true in zip(ids, shares, gold, strict=True)
        ]

    def shown(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """The class, its probability, and those of all."""
        name, scores = prediction["prediction"], prediction["scores"]
        return {"prediction": name, "score": scores[name], "scores": scores}

    def calibrate(self, predictions: Sequence[Mapping[str, Any]]) -> "TextClassification":
        """Nothing is chosen on validation predictions."""
        return self

    def example_scores(self, predictions: Sequence[Mapping[str, Any]]) -> list[float]:
        """1 for a text that is right, 0 for one that is wrong."""
        return [float(record["prediction"] == record["gold"]) for record in predictions]

    def texts(self, table: Any) -> list[str]:
        """The column of texts."""
        return table[self.text_column][:]

    def classes(self, table: Any) -> list[str]:
        """Their gold classes."""
        return self.gold(table)

    def groups(self, table: Any) -> None:
        """Texts are independent."""

    def constant_scores(self, train: Any, test: Any) -> list[float]:
        """1 for each text of the training set's largest class, the first by name among equals."""
        gold = self.gold(train)
        largest = min(set(gold), key=lambda name: (-gold.count(name), name))
        return [float(name == largest) for name in self.gold(test)]

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy, macro-F1 and Matthews' correlation."""
        from nlptl.metrics.classification import classification_scores

        index = {name: i for i, name in enumerate(self.labels)}
        return classification_scores(
            [index[record["gold"]] for record in predictions],
            [index[record["prediction"]] for record in predictions],
            len(self.labels),
        )


def prepare_sentiment(config: Any) -> tuple[TextClassification, dict[str, Any], dict[str, Any]]:
    """Read the data of a :class:`nlptl.cli.config.SentimentConfig` and check all of it.

    Returns:
        The task, the splits (``train``, ``validation``, ``test``), and a record of where they came
        from: columns, classes with their counts, splits that were carved out.

    Raises:
        UserError: With everything that is wrong with the data.
    """
    splits, origin = load_asked(config)
    problems = Problems()
    text = problems.run(find_column, splits, "text", config.text_column)
    label = problems.run(find_column, splits, "label", config.label_column)
    if text:
        problems.run(check_texts, splits, text)
    checked = problems.run(check_labels, splits, label) if label else None
    problems.raise_if_any()
    assert text and label and checked  # raised above otherwise
    classes, hidden = checked
    names = getattr(splits["train"].features[label], "names", None)
    for split in hidden:
        del splits[split]
    task = TextClassification(tuple(classes), text, label, tuple(names) if names else None)
    splits, carved = carve_missing(splits, task.gold(splits["train"]), config.seed)
    splits = limit(splits, task.gold, config)
    gold = task.gold(splits["train"])
    if len(set(gold)) < 2:
        left = (
            f"training examples of one class only, '{gold[0]}'" if gold else "no training examples"
        )
        if config.max_train_examples is not None:
            raise DataError(
                f"--max-train-examples {config.max_train_examples} leaves {left}; raise it."
            )
        raise DataError(
            f"Setting {' and '.join(carved)} aside leaves {left}. Give more examples, or files of their own: "
            f"--validation-file, --test-file."
        )
    if config.class_weights == "balanced":
        task = replace(task, class_weights=balanced_weights(gold, task.labels))
    record = {
        **origin,
        "columns": {"text": text, "label": label},
        "train_counts": {name: gold.count(name) for name in task.labels},
        "class_weights": task.class_weights,
        "carved_from_train": carved,
        "hidden_labels": hidden,
    }
    return task, splits, record
