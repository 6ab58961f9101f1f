"""A task whose metric is no mean over examples."""

from dataclasses import dataclass

import numpy as np

from nlptl.tasks.classification import TextClassification


@dataclass(frozen=True)
class RareWord(TextClassification):
    """Classes of texts, chosen and scored by Matthews' correlation."""

    selection = "matthews"

    def statistics(self, predictions):
        """Said yes and is yes, said yes, is yes."""
        said, is_ = (
            np.asarray([row[name] == self.labels[1] for row in predictions], float)
            for name in ("prediction", "gold")
        )
        return np.stack([said * is_, said, is_], -1)

    def combine(self, means):
        """No number where one of the two is constant."""
        both, said, is_ = np.moveaxis(means, -1, 0)
        return (both - said * is_) / np.sqrt(said * (1 - said) * is_ * (1 - is_))
