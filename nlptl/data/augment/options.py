"""The flags of augmentation; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from typing import Any, Literal

#: Ways of changing a text.
Way = Literal["eda", "typos", "mlm"]
#: Share of a text's words that a copy changes, and copies of a text, by default (Wei & Zou, 2019, table 3).
ALPHA, COPIES = 0.1, 4
#: Most copies of a text; what is more is a slip of the keyboard.
MOST = 64
#: Ranges of the numbers, as :data:`nlptl.cli.values.RANGES` has them.
RANGES: dict[str, tuple[Any, str]] = {
    "augment_alpha": (lambda x: 0 <= x <= 1, "0 to 1"),
    "augment_copies": (lambda x: 1 <= x <= MOST, f"1 to {MOST}"),
}


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Flags of the recipes that can train on changed copies of their training texts."""

    augment: Way | None = None
    """Also train on changed copies of the training texts: eda (a word replaced by a neighbour among the
    checkpoint's word vectors, inserted, swapped or left out), typos (slips of the keyboard) or mlm (words
    replaced by a masked language model). Validation and test texts stay as they are."""
    augment_alpha: float = ALPHA
    """Share of a text's words that a copy changes, at least one word; 0 makes no copies."""
    augment_copies: int = COPIES
    """Copies of each training text."""
