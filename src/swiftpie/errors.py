"""The exceptions a user of SwiftPie can meet.

```
SwiftPieError
├── InputError (ValueError)       an image, mask or prompt cannot be used
│   ├── ImageError                a picture or mask file is missing or broken
│   │   └── NoSubject             it shows no subject
│   ├── UnknownSubjectError       a word or a prompt names no subject of the library
│   └── UnknownArgument (TypeError)  an argument that a call does not have
├── ConfigError (ValueError)      an unknown preset or a bad setting
├── CapabilityError               the preset cannot do this operation
├── WeightsError                  weights are missing, corrupt or of the wrong shape
├── OutOfMemory (MemoryError)     a single picture does not fit into memory
└── MissingExtra (ImportError)    an optional package is not installed
```

Every message says what was given, what is needed, and what to do.
"""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

REASON_LETTERS = 300  # kept of a message of another library


class SwiftPieError(Exception):
    """Base of every error that SwiftPie raises on purpose."""


class InputError(SwiftPieError, ValueError):
    """An image, mask or prompt cannot be used."""


class ImageError(InputError):
    """A picture or mask is missing, broken, too large, or shows no subject."""


class Remedied(InputError):  # noqa: N818 - reads as what it is
    """An input cannot be used, and what to do depends on the surface.

    `found` describes the input, and `remedy` says what to do in Python or on the command line. A
    server replaces `remedy` with its own.
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found, remedy)
        self.found, self.remedy = found, remedy

    def __str__(self) -> str:
        return f"{self.found} {self.remedy}"


class NoSubject(Remedied, ImageError):  # noqa: N818 - reads as what it is
    """A picture or mask shows no subject."""


class AmbiguousMask(Remedied, ImageError):  # noqa: N818 - reads as what it is
    """A mask has two readings, one the opposite of the other."""


class UnknownSubjectError(Remedied):
    """A word or a prompt names no subject of the library, and there is no picture.

    `found` says so and lists similar names, which are `near`; `word` is the unknown name, "" for a
    prompt.
    """

    def __init__(
        self,
        found: str,
        remedy: str = "Choose a name of `swiftpie library`, or give a picture.",
        *,
        word: str = "",
        near: Sequence[str] = (),
    ) -> None:
        super().__init__(found, remedy)
        self.word, self.near = word, near


class UnknownArgument(InputError, TypeError):  # noqa: N818 - reads as what it is
    """A call has an argument that does not exist, or lacks one."""


class ConfigError(SwiftPieError, ValueError):
    """A preset, recipe or setting does not exist or has a bad value."""


class CapabilityError(SwiftPieError):
    """The chosen preset cannot do the operation."""


class WeightsError(SwiftPieError):
    """Weights are missing, corrupt, unsafe or of the wrong shape."""


class SigningError(SwiftPieError):
    """A key cannot sign pictures. The message names the file of the key, so servers log it."""


class OutOfMemory(SwiftPieError, MemoryError):  # noqa: N818 - reads as what it is
    """A single picture does not fit into free memory."""


class MissingExtra(SwiftPieError, ImportError):  # noqa: N818 - reads as what it is
    """An optional package is needed; the message names the extra to install."""


def require(package: str, *, extra: str, use: str) -> Any:  # noqa: ANN401 - a module, of any types
    """Return an optional package or module, or raise MissingExtra; `use` begins the message."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(_missing(package, extra=extra, use=use)) from error


def check_installed(*packages: str, extra: str, use: str) -> None:
    """Raise MissingExtra as `require` does, and import nothing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(_missing(package, extra=extra, use=use))


def _missing(package: str, *, extra: str, use: str) -> str:
    return (
        f"{use} needs the package {package!r}, which is not installed. "
        f'Run: pip install "swiftpie[{extra}]"'
    )


def printable(text: str) -> str:
    """Return `text` with spaces for control characters and other unprintable ones."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def short_reason(reason: object) -> str:
    """Return a message of another library on one line, cut to `REASON_LETTERS`."""
    text = " ".join(printable(str(reason)).split())
    if len(text) <= REASON_LETTERS:
        return text
    return f"{text[:REASON_LETTERS].rpartition(' ')[0] or text[:REASON_LETTERS]} …"


def system_reason(error: Exception) -> str:
    """Return the operating system's words for `error`, without the path."""
    return getattr(error, "strerror", None) or str(error)


def check_exclusive(given: Mapping[str, object]) -> None:
    """Refuse options of which only one may have a value."""
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise ConfigError(f"{names[0]} and {names[1]} exclude each other. Give one of them.")


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return advice for an unknown name: the most similar `known` names, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
