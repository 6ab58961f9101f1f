"""Lists and objects in the cell of a table: in json, as literals of Python, or as numpy prints an array."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
#: An item of a printed array: a quoted text, a number or another word, maybe with its type.
ITEM = re.compile(rf"np\.\w+\((?:{QUOTED}|[\w.+-]+)\)|{QUOTED}|[\w.+-]+")
#: A printed array has blanks and no commas between its items, and lines where it is long.
PRINTED = re.compile(rf"\[\s*(?:{ITEM.pattern})(?:\s+(?:{ITEM.pattern}))+\s*\]")
#: Two strings side by side, maybe with a mark of their kind (u'a' u'b'), where a quote is left of each.
SIDE_BY_SIDE = re.compile(r"'\s*\w{0,2}'")
#: What a literal may name.
NAMES = {"nan": None, "True_": True, "False_": False}
#: What to do about an array whose middle is not there.
WHOLE = (
    "numpy writes no more than the first and last items of a long array ('...'). Give the parquet or json "
    "file, which holds all of them"
)


def read_written(cell: str) -> list[Any] | Mapping[Any, Any]:
    """Read a list or an object that a text writes; nothing in it is run.

    Python's ``nan`` is None; ``array([...])`` is a list, and so is a printed array, ``['a' 'b']``, whose items
    Python would join. What numpy left out of a long array is ``...``.

    Example:
        >>> read_written("['a', 'b']"), read_written("['a' 'b']"), read_written("[1. 0.]")
        (['a', 'b'], ['a', 'b'], [1.0, 0.0])

    Raises:
        ValueError: If it writes neither.
    """
    for read in (json.loads, _printed, _literal):
        try:
            found = read(cell.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | Mapping):
            return found
    raise ValueError("writes neither a list nor an object")


def _printed(text: str) -> list[Any]:
    """Read an array of one dimension as numpy prints it."""
    if not PRINTED.fullmatch(text):
        raise ValueError
    return [_literal(item) for item in ITEM.findall(text)]


def _literal(text: str) -> Any:
    """Evaluate a literal of Python in which no two strings stand side by side, which Python would join."""
    if SIDE_BY_SIDE.search(re.sub(QUOTED, "'", text)):
        raise ValueError
    return _evaluated(ast.parse(text, mode="eval").body)


def _evaluated(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_evaluated(key): _evaluated(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_evaluated(one) for one in node.elts]
    if isinstance(node, ast.Call) and node.args and _is_type(node.func):
        return _evaluated(node.args[0])
    name = ast.unparse(node).removeprefix("np.")
    return NAMES[name] if name in NAMES else ast.literal_eval(node)


def _is_type(function: ast.AST) -> bool:
    """Whether it is ``array`` or a type of numpy, as in ``np.int64(1)``."""
    if isinstance(function, ast.Attribute):
        return getattr(function.value, "id", "") == "np"
    return getattr(function, "id", "") == "array"
