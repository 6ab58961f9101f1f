"""The flags of ``few-shot``, and the names of its methods; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

#: Methods without labels.
NAMES, ENTAILMENT, PROMPT = "label-names", "entailment", "prompt"
ZERO = (NAMES, ENTAILMENT, PROMPT)
#: Methods that fit a linear head on states of the untouched checkpoint, and the one that trains these first.
CENTROID, PROBE, CONTRASTIVE = "nearest-centroid", "probe", "contrastive"
FITTED = (CENTROID, PROBE)
#: Methods with labels that are compared by default; every other name is a mode of plain fine-tuning.
USUAL = (*FITTED, "head-only", "lora", "full", CONTRASTIVE)
WHAT = {
    NAMES: "no label: the class whose name has the most similar state (cosine)",
    ENTAILMENT: "no label: the class whose sentence the text entails (Yin et al., 2019)",
    PROMPT: "no label: the class whose word fits the mask, less the prior (Zhao et al., 2021)",
    CENTROID: "the class whose mean state is nearest (Snell et al., 2017)",
    PROBE: "logistic regression on the checkpoint's states, C = 1",
    CONTRASTIVE: "texts of one class drawn together, others apart (Tunstall et al., 2022), then as probe",
}
#: Sentences in which the name of a class stands at ``{}``.
TEMPLATES = {
    NAMES: ("{}", "This is about {}.", "A text about {}."),
    ENTAILMENT: ("This example is {}.", "This text is about {}.", "The topic is {}."),
    PROMPT: ("It was {}.", "All in all, it was {}.", "This is about {}."),
}


@dataclass(frozen=True, kw_only=True)
class FewShotOptions:
    """Flags of a study of few labels, beside those of every study."""

    shots: tuple[str, ...] = ("0", "1", "8", "64")
    """Numbers of labels a class; 0 asks for the methods without labels."""
    methods: tuple[str, ...] = ()
    """Methods without labels (label-names, entailment, prompt) and with (nearest-centroid, probe, contrastive,
    or a mode such as full); by default those without labels that the checkpoint allows, and nearest-centroid,
    probe, head-only, lora, full and contrastive."""
    mode: str = "full"
    """What contrastive trains; the modes of plain fine-tuning are given to --methods."""
    validation: Literal["none", "same"] = "none"
    """Validation labels of each draw: none (the last epoch is taken), or as many a class as --shots (same),
    which choose the epoch."""
    label_words: tuple[str, ...] = ()
    """Words for labels, for the methods without labels: LABEL=WORDS, such as "Sci/Tech=science". prompt takes
    one word a class that is one token."""
    templates: tuple[str, ...] = ()
    """Sentences with one {} for the name of a class, for all methods without labels; their answers are
    averaged, and the spread is shown. By default three of each method's own."""
    zero_model: str | None = None
    """Checkpoint of entailment and prompt, where --model has no such head."""
    pairs: int = 20
    """Pairs of the same class, and as many of different ones, that contrastive draws for each example; with 0
    it is probe."""
    max_pairs: int = 2000
    """Most pairs of texts that contrastive trains on."""
    seeds: int = 5
    """Number of draws of labelled examples, with seeds seed, seed + 1, …; every method sees the same."""
    save: str | None = None
    """Method with labels whose model of the first draw, with the most labels, is saved too, as a run below
    --output-dir that nlptl predict takes."""
    output_dir: Path = Path("runs/few_shot")
    """Directory of the study."""

    ranges: ClassVar[dict[str, Any]] = {
        "pairs": (lambda x: x >= 0, "0 or more"),
        "max_pairs": (lambda x: x > 1, "2 or more"),
    }
