"""Hashes of what functions and classes compute, for the keys of whatever is kept on disk."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

#: Packages whose classes count by name alone.
LIBRARIES = frozenset(
    ("builtins", "datasets", "numpy", "peft", "sklearn", "torch", "transformers", "typing")
)


def code_hash(*things: Any) -> str:
    """Hash what functions, methods and classes compute: their code, defaults, closures and what they call.

    Functions and classes of the same package (or file) and plain values that they refer to are followed; of
    what a class outside nlptl takes from nlptl, only the name counts. Two classes with the same name and
    different code have different hashes; comments and docstrings do not count.
    """
    seen: set[int] = set()
    found = sha256()
    for thing in things:
        _walk(thing, found.update, seen)
    return found.hexdigest()


def _walk(thing: Any, write: Callable[[bytes], None], seen: set[int]) -> None:
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    elif isinstance(thing, property):
        thing = thing.fget
    thing = getattr(thing, "__wrapped__", thing)
    if isinstance(thing, FunctionType | type):
        if id(thing) in seen:
            return
        seen.add(id(thing))
    if isinstance(thing, FunctionType):
        closure = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        for value in (thing.__defaults__, thing.__kwdefaults__, *closure):
            _value(value, thing.__module__, write, seen)
        _code(thing.__code__, thing, write, seen)
    elif isinstance(thing, type):
        write(f"class {thing.__qualname__}".encode())
        for base in thing.__mro__:
            package = base.__module__.split(".")[0]
            if package in LIBRARIES or package == "nlptl" != thing.__module__.split(".")[0]:
                write(f"{base.__module__}.{base.__qualname__}".encode())
                continue
            for name, value in sorted(vars(base).items()):
                if name not in (
                    "__doc__",
                    "__module__",
                    "__dict__",
                    "__weakref__",
                    "__firstlineno__",
                    "__slotnames__",  # comes to a class when an object of it is pickled
                ):
                    write(name.encode())
                    _value(value, base.__module__, write, seen)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _code(code: CodeType, function: FunctionType, write: Callable, seen: set[int]) -> None:
    write(code.co_code)
    names = list(code.co_names)
    write(json.dumps([names, list(code.co_varnames), list(code.co_freevars)]).encode())
    documented = code.co_consts[:1] if function.__doc__ and code is function.__code__ else ()
    for value in code.co_consts[len(documented) :]:
        if isinstance(value, CodeType):
            _code(value, function, write, seen)
        else:
            write(repr(sorted(value, key=repr) if isinstance(value, frozenset) else value).encode())
    for name in names:
        if name in function.__globals__:
            _value(function.__globals__[name], function.__module__, write, seen)


def _value(value: Any, module: str, write: Callable, seen: set[int]) -> None:
    """Count a plain value, or follow a function or class of the same package.

    For any other value its ``repr`` counts, or its type alone if the ``repr`` has an address in memory.
    """
    if not isinstance(value, type):
        value = getattr(value, "__wrapped__", value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        write(repr(value).encode())
    elif isinstance(value, tuple | list | set | frozenset):
        for one in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _value(one, module, write, seen)
    elif isinstance(value, WeakKeyDictionary):  # a memory of results, which changes nothing
        write(b"memory")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            write(repr(key).encode())
            _value(one, module, write, seen)
    elif isinstance(value, classmethod | staticmethod | property):
        _walk(value, write, seen)
    elif isinstance(value, FunctionType | type):
        if value.__module__.split(".")[0] == module.split(".")[0]:
            _walk(value, write, seen)
        else:
            write(f"{value.__module__}.{value.__qualname__}".encode())
    elif isinstance(value, partial):
        for one in (value.func, value.args, value.keywords):
            _value(one, module, write, seen)
    elif not isinstance(value, ModuleType):
        text = repr(value)
        write((text if " at 0x" not in text else type(value).__qualname__).encode())
