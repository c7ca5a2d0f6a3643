"""The distribution's name, and packages that only some commands need."""

from importlib.util import find_spec
from pathlib import Path

from nas.errors import UsageError

DISTRIBUTION = "mobile-nas"
"""The name that pip knows: ``nas`` itself is another project's."""


def install(extra: str) -> str:
    """The command that installs an extra, from a checkout or from the package index, as this code was."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e '{checkout}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def need(what: str, extra: str, *packages: str) -> None:
    """Checks that a command's packages are installed.

    Args:
        what: the option or command that needs them.
        extra: what installs them, a name in pyproject.toml's optional dependencies.

    Raises:
        UsageError: one is missing.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(f"{what} needs the package {package}: {install(extra)}")
