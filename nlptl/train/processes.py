"""What several processes do together."""

from typing import Any, TypeVar

T = TypeVar("T")


def gather(items: list[T], accelerator: Any) -> list[T]:
    """The items of all processes, in the order of their ranks; any objects that pickle takes."""
    if accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def from_main(value: T, accelerator: Any) -> T:
    """What the main process has; any object that pickle takes."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]
