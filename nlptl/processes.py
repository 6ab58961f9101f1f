"""What several processes do together."""

from typing import Any, TypeVar

T = TypeVar("T")


def gather(items: list[T], accelerator: Any) -> list[T]:
    """The items of all processes, in the order of their ranks; any objects that pickle takes."""
    if accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)
