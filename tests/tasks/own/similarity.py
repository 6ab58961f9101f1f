"""A regression: how alike two texts are, from 0 to 5, chosen by Spearman's correlation."""

import torch
from torch.nn import functional

from nlptl import Task
from nlptl.metrics.statistics import correlation_moments, correlation_of


class Similarity(Task):
    """How alike are two texts?"""

    name, fields, label = "similarity", ("first", "second"), "score"
    label_dtype, selection = torch.float, "spearman"
    combine = staticmethod(correlation_of)

    def loss(self, outputs, inputs):
        loss = functional.mse_loss(outputs["logits"][:, 0], inputs["labels"] / 5)
        return loss, len(inputs["labels"])

    def decode(self, logits):
        return {"prediction": 5 * float(logits[0])}

    def statistics(self, predictions):
        both = [[p[key] for p in predictions] for key in ("gold", "prediction")]
        return correlation_moments(*both, ranked=True)
