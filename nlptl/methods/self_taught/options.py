"""The flags of ``self-taught``, and the names of its arms; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

#: What every arm is compared with: the checkpoint as it is.
NONE = "none"
#: Ways of learning from texts without labels.
MASKED, CONTRASTIVE = "masked-lm", "contrastive"
STAGES = (MASKED, CONTRASTIVE)
#: Texts of the first stage; the last is the control, which has nothing to read.
SAME, OTHER, SHUFFLED = "same", "other", "shuffled"
TEXTS = {
    SAME: "texts of the same kind (--unlabelled)",
    OTHER: "texts of another kind (--other)",
    SHUFFLED: "the words of the same texts, dealt out to them at random: the control",
}
HOW = {
    MASKED: "masked words predicted (Devlin et al., 2019)",
    CONTRASTIVE: "a text told from others, dropout as the only noise (SimCSE; Gao et al., 2021)",
}


@dataclass(frozen=True, kw_only=True)
class SelfTaughtOptions:
    """Flags of a study of self-taught learning, beside those of every study."""

    unlabelled: tuple[str, ...] = ()
    """Texts without labels of the same kind as the labelled ones: files, folders or hub names; with a bundled
    set those of bundled/reviews by default."""
    other: tuple[str, ...] = ()
    """Texts of another kind, of which as many words are taken as --unlabelled has, at most; with a bundled set
    the passages of bundled/passages by default. Without any there is no such arm."""
    unlabelled_column: str = "text"
    """Column of the texts in --unlabelled and --other; a .txt has a text in each line."""
    first_stage: tuple[str, ...] = STAGES
    """What is learned from the texts: masked-lm (words that are hidden), contrastive (which of two states
    under dropout are of one text, SimCSE), or both, one arm each."""
    first_steps: int = 50
    """Optimizer steps of the first stage, the same for all arms; with 0 every arm is as none."""
    first_batch_size: int = 16
    """Texts per batch of the first stage."""
    first_rate: float | None = None
    """Peak learning rate of the first stage; by default 5e-4 at a width of 128 for masked-lm, and the rate of
    --mode full for contrastive."""
    temperature: float = 0.05
    """Temperature of the contrastive loss."""
    mode: str = "head-only"
    """What the labels train after the first stage; head-only is a linear classifier on frozen states."""
    seeds: int = 3
    """Number of runs of each arm, with seeds seed, seed + 1, …; with --max-train-examples each has its own
    examples."""
    save: str | None = None
    """Arm whose first seed's model is saved too, as a run below --output-dir that nlptl predict takes."""
    output_dir: Path = Path("runs/self_taught")
    """Directory of the study."""

    ranges: ClassVar[dict[str, Any]] = {
        "first_steps": (lambda x: x >= 0, "0 or more"),
        "first_batch_size": (lambda x: x > 1, "2 or more"),
        "first_rate": (lambda x: x > 0, "a number above 0"),
        "temperature": (lambda x: x > 0, "a number above 0"),
    }


def arm(stage: str, texts: str) -> str:
    """Name an arm.

    Example:
        >>> arm("contrastive", "same")
        'contrastive same'
    """
    return f"{stage} {texts}"


def what_is(name: str) -> str:
    """Say what an arm is, for the reader."""
    if name == NONE:
        return "the checkpoint as it is: the labels alone"
    stage, texts = name.split()
    return f"{HOW[stage]}; {TEXTS[texts]}"
