"""What the server of :mod:`tests.campaign.process` imports once, so that a command that it forks need not."""

import matplotlib.pyplot  # noqa: F401
import onnxscript  # noqa: F401
import optuna  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo  # noqa: F401

import nas.cli
import nas.commands.api
import nas.commands.resume
import nas.engine.native.kernels
import nas.pages.outcomes
import nas.tuning.tuner

nas.cli.app()
