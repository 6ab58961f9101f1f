"""Things by name: those of nlptl, of other packages, of files, and those that a program registers."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from nlptl.errors import ConfigError, listed, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, each loaded when it is first asked for.

    Args:
        kind: Word for one of them in messages, such as ``task``.
        group: Group of other packages' entry points (``[project.entry-points."nlptl.tasks"]``).
        builtin: Mapping from the names of nlptl's own things to ``module:attribute``.
        aliases: Mapping from other names of the same things to their names.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self.places, self.aliases = dict(builtin), dict(aliases or {})
        self.things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing under a name; a later one of the same name takes its place."""
        self.things[name] = thing
        return thing

    def names(self) -> list[str]:
        """List all names but aliases: nlptl's own, other packages', then those registered here."""
        found = [*self.places, *(point.name for point in entry_points(group=self.group))]
        registered = [name for name in self.things if ".py:" not in name]
        return list(dict.fromkeys([*found, *registered]))

    def get(self, name: str, flag: str = "") -> T:
        """Return the thing of a name, of an alias, or of ``path/to/file.py:Name``.

        Args:
            name: Name of the thing.
            flag: The flag that named it, for messages.

        Raises:
            ConfigError: If there is none, or its module cannot be imported; the message names the module.
        """
        name = self.aliases.get(name, name)
        if name not in self.things:
            self.things[name] = self._load(name, f"{flag} {name}".strip())
        return self.things[name]

    def _load(self, name: str, asked: str) -> T:
        path, _, attribute = name.rpartition(":")
        if path.endswith(".py"):
            return _attribute(load_file(Path(path), asked), attribute, asked)
        for point in entry_points(group=self.group):
            if point.name == name and name not in self.places:
                return self._imported(point.value, asked)
        if name in self.places:
            return self._imported(self.places[name], asked)
        raise ConfigError(
            f"{asked}: there is no such {self.kind}.{suggest(name, [*self.names(), *self.aliases])} "
            f"There are: {listed(self.names())}; or path/to/file.py:Class."
        )

    def _imported(self, place: str, asked: str) -> T:
        module, _, attribute = place.partition(":")
        try:
            return _attribute(importlib.import_module(module), attribute, asked)
        except ImportError as error:
            raise ConfigError(
                f"{asked}: its module {module} cannot be imported ({error}). Install the package that it "
                "comes with."
            ) from error


def load_file(path: Path, asked: str) -> ModuleType:
    """Import a Python file, once, under a name of its own.

    Raises:
        ConfigError: If the file does not exist or cannot be imported.
    """
    missing = ConfigError(f"{asked}: there is no file {path}.")
    if not path.is_file():  # which also says so of names that no file can have
        raise missing
    name = f"nlptl_file_{sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise missing
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(
            f"{asked}: {path} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    return module


def loaded_files() -> list[Path]:
    """List the files that :func:`load_file` has imported, for other processes that need them too."""
    modules = [module for name, module in sys.modules.items() if name.startswith("nlptl_file_")]
    return [Path(str(module.__file__)) for module in modules]


def _attribute(module: ModuleType, name: str, asked: str) -> Any:
    if not hasattr(module, name):
        there = [n for n, value in vars(module).items() if isinstance(value, type) and n[0] != "_"]
        raise ConfigError(f"{asked}: {module.__name__} has no {name}; it has {listed(there)}.")
    return getattr(module, name)
