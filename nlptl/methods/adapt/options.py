"""The flags of ``adapt``, and the names of its methods; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

#: Bounds: the first is what every method is compared with, the others have all labels of the target.
SOURCE, TARGET, ALL = "source-only", "target-only", "all"
#: Bounds with ``--target-labels`` labels of the target: alone, and beside the source's.
FEW, BOTH = "few-labels", "source-and-few"
BOUNDS = (SOURCE, TARGET, ALL, FEW, BOTH)
#: Methods that fit the head again on states that are computed once.
REFITTED = ("easyadapt", "coral", "importance-weighting")
#: Methods that train with a term between the domains, and so need blocks that train.
ALIGNED = ("deep-coral", "mmd", "dann")
#: Methods that predict masked words of the target, and so need a checkpoint with a masked-LM head.
MASKED = ("dapt", "tapt", "udalm")
METHODS = (*REFITTED, *ALIGNED, "self-training", *MASKED)
#: Methods that read labels of the target, ``--target-labels`` of them.
LABELLED = ("easyadapt", FEW, BOTH)
#: Weight of each term, as far as ``--weights`` does not give it. Covariances of features of unit scale differ
#: so little that the term is a hundredth of the loss. dann's discriminator learns at weight 1 in any case; its
#: reversed gradient at 1 turns the features of a whole model faster than it can follow (benchmarks/README.md).
WEIGHTS = {"deep-coral": 10.0, "mmd": 1.0, "dann": 0.1}
WHAT = {
    SOURCE: "labels of the source alone: the lower bound",
    TARGET: "all labels of the target's training set: the upper bound",
    ALL: "all labels of both",
    FEW: "the --target-labels labels of the target alone",
    BOTH: "labels of the source and the --target-labels labels of the target",
    "easyadapt": "head on a shared copy of the states and one for each domain (Daumé III, 2007)",
    "coral": "head on source states recoloured to the target's covariance (Sun et al., 2016)",
    "importance-weighting": "head on source states weighted by how much they look like the target",
    "deep-coral": "trained with a term on the distance of covariances (Sun & Saenko, 2016)",
    "mmd": "trained with a term on the maximum mean discrepancy (Long et al., 2015)",
    "dann": "trained against a discriminator of domains (Ganin et al., 2016)",
    "self-training": "trained again with the target's texts that it is sure of",
    "dapt": "masked LM on all texts of the target, then the source's labels (Gururangan et al., 2020)",
    "tapt": "masked LM on the training texts of source and target, then the source's labels (there too)",
    "udalm": "source labels and masked LM on the target in one loss (Karouzos et al., 2021)",
}


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Flags of an adaptation from one domain, or several, to another, beside those of every study."""

    source: tuple[str, ...] = ()
    """Source domains, whose labels are used: each a file, a folder, a hub name, or a value of
    --domain-column in --dataset. By default films and books, of bundled/remarks."""
    target: str | None = None
    """Target domain, whose texts are used and whose test set is scored; by default kitchen, of
    bundled/remarks."""
    domain_column: str = "domain"
    """Column of --dataset with each row's domain."""
    target_text: tuple[str, ...] = ()
    """More texts of the target without labels (column text): files, folders or hub names; of a file with
    --domain-column only the target's rows count. With a bundled set those of bundled/reviews by default."""
    methods: tuple[str, ...] = ("coral", "dann", "udalm")
    """Methods to compare; source-only and target-only are always run beside them."""
    all_pairs: bool = False
    """Adapt from each domain of --source to each other one."""
    target_labels: int = 0
    """Number of the target's labels that easyadapt uses; with some, few-labels and source-and-few run too."""
    select: Literal["source", "reverse"] = "source"
    """How the weight of a term is chosen if --weights gives several, always without labels of the target:
    source (validation examples of the source) or reverse (of a classifier fitted to the target's predicted
    labels, Ganin et al., 2016)."""
    weights: tuple[str, ...] = ()
    """Weights of the term of deep-coral, mmd and dann; of several, the first seed's runs choose one."""
    shrinkage: float = 1.0
    """Ridge on both covariances of coral, times the mean variance of a state."""
    threshold: float = 0.9
    """Least probability of a predicted label that self-training learns from; above 1 it learns from none."""
    rounds: int = 1
    """Number of times that self-training labels the target's texts."""
    mix: float = 0.5
    """Share of the masked-LM loss in udalm's loss."""
    lm_epochs: float = 5.0
    """Passes of dapt and tapt over their texts before the fine-tuning."""
    seeds: int = 3
    """Number of runs of each method, with seeds seed, seed + 1, …; with --max-train-examples each has its own
    examples."""
    save: str | None = None
    """Arm whose first seed's model is saved too, as a run below --output-dir that nlptl predict takes."""
    output_dir: Path = Path("runs/adapt")
    """Directory of the study."""

    ranges: ClassVar[dict[str, Any]] = {
        "target_labels": (lambda x: x >= 0, "0 or more"),
        "shrinkage": (lambda x: x >= 0, "0 or more"),
        "threshold": (lambda x: x > 0, "a number above 0"),
        "rounds": (lambda x: x > 0, "a number above 0"),
        "mix": (lambda x: 0 <= x < 1, "0 or more and less than 1"),
        "lm_epochs": (lambda x: x > 0, "a number above 0"),
    }
