"""A tag a word: entities in BIO, chosen by the F1 of whole entities."""

from transformers import AutoModelForTokenClassification

from nlptl import Task
from nlptl.metrics.statistics import entity_counts, micro_f1_of


class Tags(Task):
    """Which words name somebody or some place?"""

    name, fields, label, selection = "tags", ("tokens",), "tags", "entity_f1"
    split_into_words, pooled, peft_type = True, False, "TOKEN_CLS"
    auto_class = AutoModelForTokenClassification
    combine = staticmethod(micro_f1_of)

    def statistics(self, predictions):
        return entity_counts(*([p[key] for p in predictions] for key in ("gold", "prediction")))
