"""The data: found or not, whole or not, and its digest."""

import warnings

from nas import data
from nas.data.cifar import folder_of
from nas.doctor.check import Case, Check, Line, broken, ok, warning
from nas.errors import UsageError

DIGITS = "d9b993d5db5def7c"
"""The digest of scikit-learn's digits, which never change."""


def digits(case: Case) -> Line:
    """The data that need no download."""
    digest = data.load("digits").digest
    if digest != DIGITS:
        return warning(f"digest {digest}, not {DIGITS}", "scikit-learn's digits or its split are other ones than usual")
    return ok(f"digest {digest}")


def cifar(name: str) -> Check:
    """The check of CIFAR-10 or CIFAR-100; nothing is downloaded."""

    def check(case: Case) -> Line:
        root = case.execution.data_root
        place = data.place(name, root)
        if not folder_of(name, place).is_dir():
            return ok(f"not in {place}; it is downloaded at first use, or named by --data-root or NAS_DATA")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = data.load(name, root=root)
        except UsageError as error:
            return broken(str(error), f"remove {folder_of(name, place)} to have it downloaded anew")
        text = f"{len(dataset.train):,} + {len(dataset.test):,} images in {place}, digest {dataset.digest}"
        if not dataset.official:
            return warning(f"{text}: not the official files", "compare no figures on them with published ones")
        return ok(text)

    return check
