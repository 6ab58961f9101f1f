"""Methods by name: ways from data to a trained model, of which plain fine-tuning is the first."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nlptl.data.code_hash import code_hash
from nlptl.registry import Registry

if TYPE_CHECKING:
    from nlptl.tasks.base import Task
    from nlptl.train.setup import FinetuneArgs

T = TypeVar("T")


class Method(Protocol):
    """One way from data to a trained model."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        ...

    def __call__(
        self,
        task: "Task",
        splits: Mapping[str, Any],
        args: "FinetuneArgs",
        *,
        accelerator: Any,
    ) -> Any:
        """Train on ``train``, choose on ``validation``, score on ``test``; return the finished run.

        A method that goes on from checkpoints takes ``home`` too, their folder or None.
        """
        ...

    def identity(self) -> str:
        """Say what its numbers depend on besides task, data and ``args``; a part of the outcomes' keys."""
        ...


@dataclass(frozen=True)
class Finetune:
    """Fine-tune under the task's own loss, or under another.

    Attributes:
        loss: Makes the training loss from the learner; None takes the task's own.
    """

    loss: Callable[[Any], Any] | None = None

    name = "finetune"

    def __call__(
        self,
        task: "Task",
        splits: Mapping[str, Any],
        args: "FinetuneArgs",
        *,
        accelerator: Any,
        home: Path | None = None,
    ) -> Any:
        """Run :func:`nlptl.train.finetune.finetune`."""
        from nlptl.train import finetune

        more: dict[str, Any] = {} if self.loss is None else {"loss": self.loss}
        if home is not None:
            more |= {"checkpoint_dir": home, "resume": True}
        return finetune.finetune(task, splits, args, accelerator=accelerator, **more)

    def identity(self) -> str:
        """Name the method, and say what the loss computes if it is not the task's own."""
        return self.name if self.loss is None else f"{self.name} {identity_of(self.loss)}"


@dataclass(frozen=True)
class FunctionMethod:
    """A method that is a plain function.

    Attributes:
        name: Its registered name.
        function: Called as a :class:`Method` is.
    """

    name: str
    function: Callable[..., Any]

    def __call__(
        self,
        task: "Task",
        splits: Mapping[str, Any],
        args: "FinetuneArgs",
        *,
        accelerator: Any,
        **more: Any,
    ) -> Any:
        """Call the function."""
        return self.function(task, splits, args, accelerator=accelerator, **more)

    def identity(self) -> str:
        """Name the method, and say what its function computes."""
        return f"{self.name} {identity_of(self.function)}"


def goes_on(method: Method) -> bool:
    """Whether a method can go on from checkpoints: it, or its function, takes ``home``."""
    called = method.function if isinstance(method, FunctionMethod) else method
    return "home" in signature(called).parameters


FINETUNE = Finetune()
#: Methods of nlptl, of other packages (entry points ``nlptl.methods``), and those of :func:`register_method`.
METHODS: Registry[Any] = Registry(
    "method", "nlptl.methods", {"finetune": "nlptl.study.methods:FINETUNE"}
)


def register_method(name: str) -> Callable[[T], T]:
    """Register a function, an object or a class (whose fields all have defaults) as a method.

    Example:
        >>> @register_method("twice")
        ... def twice(task, splits, args, *, accelerator): ...

    Args:
        name: What ``--method`` calls it.
    """

    def register(thing: T) -> T:
        METHODS.register(name, thing)
        return thing

    return register


def get_method(name: str, flag: str = "") -> Method:
    """Return the method of a name, or of ``path/to/file.py:name``.

    Args:
        name: Registered name.
        flag: The flag that named it, for messages.

    Raises:
        ConfigError: If there is none, or its module cannot be imported.
    """
    thing: Any = METHODS.get(name, flag)
    if isinstance(thing, type):
        return thing()
    if isinstance(thing, FunctionType):
        return FunctionMethod(name.rpartition(":")[2], thing)
    return thing


def identity_of(thing: Any) -> str:
    """Write down what a function, a class or an object computes, as part of a key of kept outcomes.

    Of nlptl's own classes and functions the name counts, since ``FORM`` in :mod:`nlptl.study.outcomes` counts
    up with their code; of all others the code.

    Args:
        thing: Something with ``identity()``; a function, class, partial or dataclass; or plain values and
            containers of these.

    Raises:
        TypeError: If it is anything else: its outcomes would be taken for another's.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return repr(thing)
    if hasattr(thing, "identity") and not isinstance(thing, type):
        return str(thing.identity())
    if isinstance(thing, partial):
        return json.dumps([identity_of(p) for p in (thing.func, thing.args, thing.keywords)])
    if isinstance(thing, MethodType):
        return json.dumps([identity_of(thing.__self__), identity_of(thing.__func__)])
    if isinstance(thing, FunctionType | type):
        held = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
        kept = [identity_of(one) for one in held if not isinstance(one, FunctionType | type)]
        own = thing.__module__.split(".")[0] == "nlptl"
        code = thing.__module__ if own else code_hash(thing)
        return json.dumps([thing.__qualname__, code, *kept])
    if isinstance(thing, tuple | list):
        return json.dumps([identity_of(one) for one in thing])
    if isinstance(thing, Mapping):
        return json.dumps({str(key): identity_of(one) for key, one in thing.items()})
    if dataclasses.is_dataclass(thing):
        fields = {f.name: identity_of(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
        return json.dumps([identity_of(type(thing)), fields])
    raise TypeError(
        f"expected a function, a class, a dataclass or something with identity(), found {thing!r}: what it "
        "computes is not known, so kept outcomes of others would be taken for its own. Give it identity()."
    )
