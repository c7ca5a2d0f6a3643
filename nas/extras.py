"""Packages that only some commands need."""

from importlib.util import find_spec

from nas.errors import UsageError


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
            raise UsageError(f"{what} needs the package {package}: pip install 'nas[{extra}]'")
