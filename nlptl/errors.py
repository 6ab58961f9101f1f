"""Errors, in words for the person who typed the command.

Every :class:`UserError` says what was expected, what was found and what to do. The recipes print it
as one paragraph and exit with code 2; anything else keeps its traceback and exits with code 1.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")
#: Most characters of one message, and of a name in it.
LONGEST, LONGEST_NAME = 2000, 200
#: Most mistakes that are spelled out.
MOST = 50


class NlptlError(Exception):
    """Base of all errors that nlptl raises on purpose."""


class UserError(NlptlError):
    """The input was wrong (exit code 2).

    Args:
        message: What was expected, what was found and what to do; of a very long one, which echoes a very long
            value, the middle is left out.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message), LONGEST))

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook, as IPython asks: the lines above are not the user's."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(UserError):
    """A flag or a configuration file asks for something impossible."""


class DataError(UserError):
    """A data file, column, label or text is not what the task needs."""


class ModelError(UserError):
    """A checkpoint cannot be found, read or mapped."""


class ModeError(UserError):
    """A mode does not exist, or does not fit the model."""


class Mistakes(UserError):
    """Several mistakes at once.

    Args:
        each: Messages of the mistakes.
    """

    def __init__(self, each: Sequence[str]) -> None:
        self.each = [shortened(message, LONGEST) for message in each]
        lines = [f"{i}. {message}" for i, message in enumerate(self.each[:MOST], 1)]
        if len(self.each) > MOST:
            lines.append(f"… and {len(self.each) - MOST} more of these.")
        found = "\n".join([f"{len(self.each)} things need your attention:", *lines])
        NlptlError.__init__(self, found)  # each is short already


class RunError(NlptlError):
    """The run failed for a reason that is not the user's input (exit code 1)."""


class Diverged(RunError):
    """The loss is no longer finite."""


class Problems:
    """A collection of user errors, so that one message can name all of them.

    Example:
        >>> problems = Problems()
        >>> with problems.collect():
        ...     raise ConfigError("--epochs is -1; expected a positive number.")
        >>> len(problems.messages)
        1
    """

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    @property
    def messages(self) -> list[str]:
        """The mistakes that were noted so far."""
        return [str(error) for error in self.errors]

    def add(self, message: str) -> None:
        """Note one more mistake."""
        self.errors.append(ConfigError(message))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Run a check; a :class:`UserError` in it or a name that no file can have is noted, not raised."""
        try:
            yield
        except UserError as error:
            self.errors.append(error)
        except OSError as error:
            if (mistake := name_too_long(error)) is None:
                raise
            self.errors.append(mistake)

    def run(self, check: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """Call a check and return its answer; None if it raised a :class:`UserError`."""
        with self.collect():
            return check(*args, **kwargs)
        return None

    def raise_if_any(self) -> None:
        """Raise what was noted, if anything was; a mistake that was found twice is named once.

        Raises:
            UserError: If one was noted, that one; if several were, a :class:`Mistakes` with all messages.
        """
        each = [m for error in self.errors for m in getattr(error, "each", [str(error)])]
        if len(set(self.messages)) == 1:
            raise self.errors[0]
        if each:
            raise Mistakes(list(dict.fromkeys(each)))


def name_too_long(error: BaseException) -> UserError | None:
    """Return the mistake behind an error about a file's name that the system does not take; None for others.

    Example:
        >>> str(name_too_long(OSError(36, "File name too long", "a" * 300)))[-52:]
        'found one of 300 characters, which no file can have.'
    """
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    name = str(error.filename)
    return ConfigError(
        f"{shortened(name)}: expected the name of a file, a folder or a model, found one of {len(name):,} "
        "characters, which no file can have."
    )


def suggest(name: str, known: Sequence[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    if len(name) > LONGEST_NAME:  # comparing takes long, and nothing is near
        return ""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean '{shortened(near[0])}'?" if near else ""


def listed(names: Sequence[Any], most: int = 20) -> str:
    """Join names for a message; beyond ``most`` only their number is given, and long names are shortened."""
    shown = ", ".join(shortened(str(name)) for name in names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def many(count: int, name: str) -> str:
    """Write a number of things; their name is in the plural unless there is one.

    Example:
        >>> many(1, "core"), many(1200, "text"), many(2, "copy"), many(0, "class")
        ('1 core', '1,200 texts', '2 copies', '0 classes')
    """
    if count == 1:
        return f"1 {name}"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{count:,} {name[:-1]}ies"
    return f"{count:,} {name}{'es' if name.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def shortened(text: str, most: int = LONGEST_NAME) -> str:
    """Leave out the middle of a text that is longer than ``most`` characters.

    Example:
        >>> shortened("abcdefghij", 5)
        'abc … ij'
    """
    if len(text) <= most:
        return text
    end = max(1, most * 2 // 5)
    return f"{text[: most - end]} … {text[-end:]}"
