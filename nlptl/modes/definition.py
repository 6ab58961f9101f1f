"""Definitions of modes, their registry, and freezing."""

import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, update_wrapper
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import Any

from torch import nn

from nlptl.errors import ConfigError, ModeError, shortened, suggest
from nlptl.models.adapters import remove_adapter
from nlptl.registry import Registry, load_file

#: Flags that only some modes take, by the names of their settings.
FLAGS = {
    "rank": "--lora-rank",
    "alpha": "--lora-alpha",
    "dropout": "--lora-dropout",
    "targets": "--lora-targets",
}
#: Attributes in which a module keeps its state before freezing, and a model what trained before its mode.
FROZEN, TRAINED = "_before_freezing", "_trained_before_mode"
#: What a place in a pattern takes: numbers, or the names of other modes.
NUMBERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": ("[0-9]{1,9}", int),
    "float": (r"[0-9]{1,9}(?:\.[0-9]{1,9})?", float),
    "modes": (".+", lambda text: tuple(text.split(","))),
}
PLACE = re.compile(r"\{(\w+):(\w+)\}")


def freeze(module: nn.Module) -> None:
    """Freeze a module until :func:`thaw`: no gradient, and eval mode whatever the mode of its parents.

    A bare ``requires_grad = False`` leaves dropout running: the frozen features are then noisy and
    differ at each pass (25 dropout modules in the lower eight blocks of BERT-base).
    """
    for inner in module.modules():
        freeze_one(inner, [n for n, _ in inner.named_parameters(recurse=False)])


def freeze_one(module: nn.Module, names: Iterable[str] = (), *, drops: bool = False) -> None:
    """Freeze a module until :func:`thaw`, but not what is inside it.

    Args:
        module: A module; it stays in eval mode, and passes the mode of its parents on to its children.
        names: Names of its own parameters that get no gradient.
        drops: Whether it follows the mode of its parents, and only the parameters are frozen.
    """
    own = vars(module)
    before = own.get(FROZEN) or Before(own.get("train"), module.training)
    trained = {n: p for n in names if (p := module.get_parameter(n)).requires_grad}
    own[FROZEN] = replace(before, trained=before.trained | frozenset(trained))
    for parameter in trained.values():
        parameter.requires_grad_(False)
    if not drops:
        module.training = False
        module.train = MethodType(_stay_in_eval, module)  # type: ignore[method-assign]


def _stay_in_eval(self: nn.Module, mode: bool = True) -> nn.Module:
    for child in self.children():
        child.train(mode)
    return self


@dataclass(frozen=True)
class Before:
    """The state of a module before it was frozen.

    Attributes:
        train: The module's own ``train`` method, or None.
        training: Whether it was in train mode.
        trained: Names of its own parameters that trained.
    """

    train: Any
    training: bool
    trained: frozenset[str] = frozenset()


def thaw(model: Any) -> Any:
    """Undo every :func:`freeze` and every mode of a model, and remove its adapters (:func:`remove_adapter`).

    Parameters that did not train before any mode, such as sinusoidal positions, do not train afterwards.
    A thawed module follows the train or eval mode of the model again.

    Returns:
        The model, without peft's wrapper.
    """
    model = remove_adapter(model)
    whole = vars(model).get(FROZEN)
    training = whole.training if whole else model.training
    for module in model.modules():
        own = vars(module)
        before = own.pop(FROZEN, None)
        if before is None:
            continue
        own.pop("train", None)
        if before.train is not None:
            own["train"] = before.train
        module.training = training
        for name in before.trained:
            module.get_parameter(name).requires_grad_(True)
    trained = vars(model).pop(TRAINED, {})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained.get(name, parameter.requires_grad))
    return model


@dataclass(frozen=True)
class Epochs:
    """The usual number of epochs: as many as a number of optimizer steps takes, within bounds.

    Attributes:
        least: Fewest epochs.
        steps: Number of optimizer steps.
        most: Most epochs.
    """

    least: int = 3
    steps: int = 500
    most: int = 20


@dataclass(eq=False)
class Definition:
    """A registered mode; it is called like its function, and thaws the model first.

    Attributes:
        function: Function from a model and settings (by keyword) to the model; for a staged mode, from
            settings to its stages.
        pattern: Value of ``--mode``, with places for numbers; see :func:`mode`.
        help: Description of what trains, for ``--mode list`` and docs/modes.md.
        when: Case in which to take the mode, for the same places.
        rate: Default peak rate as a multiple of the model's rate for training everything.
        rates: The same multiple for some models, by the name of an architecture, or ``pre-norm`` or
            ``post-norm``.
        peak: Default peak rate itself, for every model; overrides ``rate``.
        epochs: Usual number of epochs.
        frozen: Function from depth and settings to the number of lowest blocks that neither train nor change.
        trains_all: Whether everything trains.
        adapter: Whether peft wraps the model.
        merges: Whether adapters can be folded into the weights; False for prompts, which are extra inputs.
        staged: Whether the mode is a sequence of other modes.
        untrained: Whether nothing trains: the checkpoint is scored with the head that it has.
        random: Whether all weights are drawn at random before the training.
        flags: Keys of :data:`FLAGS` that it takes.
        settings: Function from the numbers in the name and the flags' values to all settings, checked.
        check: Function of a mode, a depth, a checkpoint's name and its configuration that raises a
            :class:`ModeError` if they do not fit.
        groups: Function from model and settings to parameter groups; see
            :meth:`nlptl.modes.base.Mode.parameter_groups`.
        matrices: Whether, where blocks train, their weight matrices do.
        convex_start: Whether a new head starts from a convex fit (:func:`nlptl.train.head.start_head`).
    """

    function: Callable[..., Any]
    pattern: str
    help: str
    when: str = ""
    rate: float = 1.0
    rates: Mapping[str, float] | None = None
    peak: float | None = None
    epochs: Epochs = Epochs()
    frozen: Callable[..., int] | None = None
    trains_all: bool = False
    adapter: bool = False
    merges: bool = True
    staged: bool = False
    untrained: bool = False
    random: bool = False
    flags: tuple[str, ...] = ()
    settings: Callable[..., dict[str, Any]] | None = None
    check: Callable[[Any, int, str, Any], None] | None = None
    groups: Callable[..., list[dict[str, Any]]] | None = None
    matrices: bool = True
    convex_start: bool = True

    def __post_init__(self) -> None:
        update_wrapper(self, self.function)
        if odd := {kind for _, kind in PLACE.findall(self.pattern)} - set(NUMBERS):
            raise ValueError(
                f"{self.pattern}: a place is of int, float or modes, not {', '.join(sorted(odd))}."
            )

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Set what trains in a model, whatever trained before, and return it."""
        if self.staged:
            return self.function(*given, **named)
        model = thaw(given[0])
        vars(model)[TRAINED] = {name: p.requires_grad for name, p in model.named_parameters()}
        changed = self.function(model, *given[1:], **named)
        return model if changed is None else changed

    def read(self, text: str) -> dict[str, Any] | None:
        """Return the numbers in a mode's name, or None if the name is another mode's."""
        kinds = dict(PLACE.findall(self.pattern))
        parts = re.split(r"(\{\w+:\w+\}|\[|\]|\|)", self.pattern)
        signs = {"[": "(?:", "]": ")?", "|": "|"}
        regex = "".join(
            f"(?P<{place[1]}>{NUMBERS[place[2]][0]})"
            if (place := PLACE.fullmatch(part))
            else signs.get(part, re.escape(part))
            for part in parts
        )
        found = re.fullmatch(regex, text)
        return found and {
            name: NUMBERS[kinds[name]][1](value)
            for name, value in found.groupdict().items()
            if value is not None
        }

    def names(self, number: str | None = None) -> list[str]:
        """List the mode's possible names, the shortest first: ``lora``, ``lora-rN``, ``lora-above-N``, ….

        Args:
            number: Text for each number; None for N, or M and N.
        """
        variants, last = [self.pattern], re.compile(r"(.*)\[([^\[\]]*)\](.*)")
        while any(map(last.search, variants)):
            halves = [
                found[1] + keep + found[3] if (found := last.fullmatch(v)) else v
                for v in variants
                for keep in ("", *_choices(last.fullmatch(v)))
            ]
            variants = list(dict.fromkeys(halves))
        return [_filled(variant, number) for variant in variants]

    @property
    def form(self) -> str:
        """The pattern as a reader sees it: ``lora[-rM][-above-N|-top-N]``."""
        return _filled(self.pattern, None)


def _choices(found: re.Match[str] | None) -> list[str]:
    return found[2].split("|") if found else []


def _filled(pattern: str, number: str | None) -> str:
    """Put letters, or a number, into a pattern's places."""
    places = dict.fromkeys(PLACE.findall(pattern))
    alike = {name for name, kind in places if kind == "modes"}
    names = [name for name, _ in places if name not in alike and f"|-{name}" not in pattern]
    letters = dict(zip(names, "KLMN"[-len(names) :] if names else "", strict=False))

    def fill(place: re.Match[str]) -> str:
        if place[1] in alike:
            return "head-only,full" if number else "A,B,…"
        return number or letters.get(place[1], "N")

    return PLACE.sub(fill, pattern)


MODES: Registry[Definition] = Registry("mode", "nlptl.modes", {})


def mode(pattern: str, *, help: str, **about: Any) -> Callable[[Callable[..., Any]], Definition]:
    """Register a function as a mode, so that ``--mode`` takes it.

    The function gets a model in which everything trains, and the mode's settings by keyword; it sets what
    trains (:func:`freeze` is for modules that must neither train nor drop out) and returns the model. A mode
    of stages (``staged=True``) gets the settings alone and returns its :class:`~nlptl.modes.base.Stage` s.

    Example:
        >>> from nlptl.models.layer_map import layer_map
        >>> from nlptl.modes.base import parse_mode
        >>> @mode("freeze-odd", help="every other block, and the head", rate=2.0)
        ... def freeze_odd(model):
        ...     for block in layer_map(model).blocks[1::2]:
        ...         freeze(block)
        >>> parse_mode("freeze-odd").name, MODES.things.pop("freeze-odd").help
        ('freeze-odd', 'every other block, and the head')

    Args:
        pattern: Name of the mode. ``{n:int}`` and ``{share:float}`` are places for numbers, which become
            settings; ``{modes:modes}`` is for names with commas between them; a part in brackets may be left
            out: ``lora[-r{rank:int}]``, and in it ``|`` stands between two forms.
        help: Description of what trains, in a few words.
        about: Other attributes of :class:`Definition`.

    Raises:
        ConfigError: If nlptl itself has a mode of that name.
    """

    def register(function: Callable[..., Any]) -> Definition:
        definition = Definition(function, pattern, help, **about)
        if not is_builtin(definition):
            load_builtin()
            if pattern in MODES.things and is_builtin(MODES.things[pattern]):
                raise ConfigError(f"There is a mode '{pattern}' already; give yours another name.")
        return MODES.register(pattern, definition)

    return register


def is_builtin(definition: Definition) -> bool:
    """Whether a mode is nlptl's own."""
    return definition.function.__module__.startswith("nlptl.modes.")


@cache
def load_builtin() -> None:
    """Import every file of this package, so that its modes are registered."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"nlptl.modes.{module.name}")


def definitions(*, builtin: bool = False) -> list[Definition]:
    """List the modes: nlptl's own, then those of other packages and of the program.

    Args:
        builtin: Whether to list only nlptl's own.
    """
    load_builtin()
    if not builtin:
        read_entries()
    return [d for d in _ordered(MODES.things.values()) if is_builtin(d) or not builtin]


def _ordered(found: Iterable[Any]) -> list[Definition]:
    """List each definition once, nlptl's own first, and among these the adapters last."""
    each = dict.fromkeys(thing for thing in found if isinstance(thing, Definition))
    return sorted(each, key=lambda d: 2 if not is_builtin(d) else int(d.adapter))


def entry(name: str) -> Definition:
    """Return the definition under a key of :data:`MODES`, from another package or file if necessary.

    Raises:
        ConfigError: If there is none.
    """
    load_builtin()
    # The second reads all packages' metadata; a pattern may be from a package that was imported on parsing.
    if name not in MODES.things and name not in MODES.names():
        read_entries()
    found = MODES.get(name, "--mode")
    if not isinstance(found, Definition):
        raise ConfigError(f"--mode {name}: expected a function under @nlptl.mode, found {found!r}.")
    MODES.things.setdefault(found.pattern, found)
    return found


def read_entries() -> list[str]:
    """Import the modes that other packages offer (entry points ``nlptl.modes``).

    Returns:
        The mistakes of entry points that are not modes.
    """
    broken = []
    for name in MODES.names():
        try:
            entry(name)
        except ConfigError as error:
            broken.append(str(error))
    return broken


def find(text: str) -> tuple[str, Definition, dict[str, Any]]:
    """Look up a mode by the value of ``--mode``.

    Returns:
        Its key in :data:`MODES`, its definition, and the numbers in the name.

    Raises:
        ModeError: If there is none.
    """
    load_builtin()
    word, broken, places = text, [], dict[str, Any](MODES.things)
    found = _match(places, word)  # first: a chain may hold the path of a file
    if not found and (file := re.fullmatch(r"(.+\.py):(.+)", text)):
        module, word = load_file(Path(file[1]), f"--mode {text}"), file[2]
        places = {f"{file[1]}:{name}": thing for name, thing in vars(module).items()}
        found = _match(places, word)
    elif not found:
        broken = read_entries()  # a package that cannot be imported might have it
        found, places = _match(MODES.things, word), dict(MODES.things)
    if found:
        return found
    known = _ordered(places.values())
    names = [name for definition in known for name in definition.names()]
    near = suggest(re.sub(r"[0-9]+(\.[0-9]+)?", "N", word), names)
    forms = ", ".join(definition.form for definition in known)
    raise ModeError(
        f"--mode {shortened(text)}: there is no such mode.{near} Modes: {forms}. --mode list says what they "
        f"do.{''.join(f' {message}' for message in broken)}"
    )


def _match(places: Mapping[str, Any], word: str) -> tuple[str, Definition, dict[str, Any]] | None:
    for key, thing in places.items():
        if isinstance(thing, Definition) and (numbers := thing.read(word)) is not None:
            return key, thing, numbers
    return None
