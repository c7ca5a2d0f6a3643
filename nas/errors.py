"""What a command says to its user: one line and exit status 2, or "interrupted" and 128 + the signal's number."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UsageError(ValueError):
    """A user's mistake: the message names the value, the rule and the place, in one line."""


class OutOfMemory(UsageError):
    """A training that does not fit: another one may."""


class BrokenProcess(UsageError):
    """This process can compute no more; another one can go on."""


class Interrupted(BaseException):
    """Work stopped on a signal, after everything was saved; as KeyboardInterrupt it is no error of what was at work.

    Args:
        signal: number of the signal (2 for Ctrl-C, 15 for a polite kill).
        advice: what the user can type to go on; ``SAVED`` where nobody has said it yet.
    """

    SAVED = "saved"

    def __init__(self, signal: int, advice: str = SAVED) -> None:
        super().__init__(advice)
        self.signal = signal


NO_KERNEL = "could not create a primitive"
"""What oneDNN says where memory did not suffice to compile a kernel, and then of every new kernel in that thread."""
NO_MEMORY = ("can't allocate memory", NO_KERNEL, "out of memory", "std::bad_alloc", "failed to map segment")
"""What torch, oneDNN, CUDA, C++ and the loader of libraries say of it."""


def lacks_memory(error: Exception) -> bool:
    """Whether an error came of too little memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def first_of(error: "ValidationError") -> str:
    """The first of what is wrong, with its place."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{f'{place}: ' if place else ''}{first['msg'].removeprefix('Value error, ')}"


def nearest(name: str, names: "list[str]") -> str:
    """Ends a message about an unknown ``name``: the closest of ``names``, or all of them."""
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
