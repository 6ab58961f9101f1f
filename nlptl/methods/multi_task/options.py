"""The flags of ``multi-task``, and the names of its arms; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

#: The bound that every arm is compared with, and the two ways of learning more than one task.
ALONE, MIXED, CHAIN = "alone", "mixed", "chain"
METHODS = (MIXED, CHAIN)
WHAT = {
    ALONE: "the task alone, for as many steps as it has in the mix: the bound",
    MIXED: "all tasks in one training, on one body with a head each",
    CHAIN: "the body fine-tuned on another task first, then on this one (Phang et al., 2018)",
}


@dataclass(frozen=True, kw_only=True)
class MultiTaskOptions:
    """Flags of several tasks on one body, beside those of every study."""

    tasks: tuple[str, ...] = ("sentiment:bundled/remarks", "domain:bundled/remarks")
    """Tasks, two or more, as name:data; the data are a file, a folder, a bundled set or a hub name; the name
    is yours."""
    columns: tuple[str, ...] = ()
    """Columns without a usual name, as task.role=column, such as topic.label=queue or
    pairs.text=first,second; the roles are text and label, of questions question, context and answers."""
    kinds: tuple[str, ...] = ()
    """Kinds of tasks, as task=kind, such as stars=regression; by default seen from the table, as classify
    does."""
    methods: tuple[str, ...] = METHODS
    """Ways of learning to compare with each task alone: mixed (all at once), chain (another task first)."""
    first: str | None = None
    """Task that chain begins with; by default the one with the most training examples."""
    temperature: float = 1.0
    """Temperature T of the mix: a task with n batches is drawn in proportion to n^(1/T). 1 is proportional, a
    large number (or inf) nearly uniform."""
    cap: int | None = None
    """Most training examples of a task that count for its share of the mix (Raffel et al., 2020)."""
    seeds: int = 3
    """Number of runs of each arm, with seeds seed, seed + 1, …; with --max-train-examples each has its own
    examples."""
    save: bool = True
    """Save the models of the first seed's mix, each task's as a run of its own below --output-dir."""
    output_dir: Path = Path("runs/multi_task")
    """Directory of the study."""

    ranges: ClassVar[dict[str, Any]] = {
        "cap": (lambda x: x > 0, "a number above 0"),
    }
