"""A plugin, ``-p tests.at_once``: shows a failure when it comes, so that a run that is cut off has told all it knew."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's workers have no terminal
        config.pluginmanager.register(AtOnce(config))


class AtOnce:
    """Writes tracebacks to the terminal of a run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of a test's setup, call or teardown."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            terminal.ensure_newline()
            terminal.write_line(f"{report.nodeid}\n{report.longreprtext}")
            terminal.flush()
