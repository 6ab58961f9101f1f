"""Several labels at once: any number of topics a text, chosen by F1 over all of them."""

import torch
from torch.nn import functional

from nlptl import Task
from nlptl.metrics.statistics import label_counts, micro_f1_of


class Topics(Task):
    """Which topics does a text have?"""

    name, label, label_dtype, selection = "topics", "topics", torch.float, "micro_f1"
    combine = staticmethod(micro_f1_of)

    def gold_of(self, value):
        return [float(name in value) for name in self.labels]

    def loss(self, outputs, inputs):
        logits, labels = outputs["logits"], inputs["labels"]
        return functional.binary_cross_entropy_with_logits(logits, labels), len(labels)

    def decode(self, logits):
        scores = dict(zip(self.labels, torch.sigmoid(torch.tensor(logits)).tolist(), strict=True))
        return {"prediction": [name for name in scores if scores[name] > 0.5], "scores": scores}

    def statistics(self, predictions):
        return label_counts(*([p[key] for p in predictions] for key in ("gold", "prediction")))
