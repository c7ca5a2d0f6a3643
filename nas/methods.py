"""Published search methods by name: what each changes in DARTS' first-order search, constants included.

A preset's size and time stand over a method's, and single options over both. What a paper gives in epochs is here a
share of the search's length. docs/methods.md says what of each is left out, and why.
"""

from collections.abc import Mapping

Value = str | int | float | bool
TERMS = ("beta-decay", "zero-one", "entropy")
"""The regularizers by name."""

METHODS: Mapping[str, Mapping[str, Value]] = {
    # Liu et al., ICLR 2019
    "darts": {},
    "darts-2nd": {"order": 2},
    # Xu et al., ICLR 2020, §4.2
    "pc-darts": {"partial": 4, "batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_lr": 6e-4, "warmup": 0.3},
    # Dong and Yang, CVPR 2019
    "gdas": {"relaxation": "path", "tau": 10.0, "tau_min": 0.1, "select": "gdas"},
    # Xie et al., ICLR 2019: one level
    "snas": {"relaxation": "gumbel", "tau": 1.0, "tau_min": 0.03, "levels": 1},
    # Chen et al., ICLR 2021
    "drnas": {
        "relaxation": "dirichlet",
        "alpha_lr": 6e-4,
        "lr": 0.1,
        "lr_min": 0.0,
        "warmup": 0.4,
        "keep": "4",
        "stage_partials": "4,2",
        "edge_weights": False,
    },
    # Chen et al., ICCV 2019
    "p-darts": {
        "cells": 5,
        "deepen": 6,
        "keep": "5,3",
        "fresh": True,
        "epochs": 75,
        "batch": 96,
        "lr_min": 0.0,
        "alpha_lr": 6e-4,
        "warmup": 0.4,
    },
    # Chen and Hsieh, ICML 2020
    "sdarts-rs": {"perturb": "random"},
    "sdarts-adv": {"perturb": "adversarial"},
    # Chu et al., ECCV 2020
    "fairdarts": {
        "relaxation": "sigmoid",
        "regularize": "zero-one:10",
        "select": "threshold",
        "batch": 128,
        "lr": 0.005,
        "alpha_lr": 3e-3,
        "alpha_beta1": 0.9,
    },
    # Ye et al., CVPR 2022: λ = t / 2, so 25 after 50 epochs
    "beta-darts": {"regularize": "beta-decay:25"},
    # Chu et al., ICLR 2021
    "darts-minus": {"skip": 1.0},
    # Wang et al., ICLR 2021; "blank" with alphas that never learn
    "darts-pt": {"select": "perturbation"},
    "darts-pt-blank": {"select": "perturbation", "warmup": 1.0},
    # Hou et al., arXiv 2108.08128
    "single-level": {"levels": 1},
    # arXiv 2503.10404, its first-order form
    "a2m": {"sharpness": 0.1},
    # its published code's constants
    "em-darts": {"perturb": "mutation", "mutation": 0.125},
    # Jiang et al., NeurIPS 2023; its published code's constants
    "oles": {"freeze": 0.4},
}
"""``warmup`` is the share of the epochs, of each stage, in which the alphas do not learn yet."""


def parse_regularizers(text: str) -> list[tuple[str, float]]:
    """``beta-decay:25,zero-one`` as names and strengths; a strength that is not given is 1.

    Raises:
        ValueError: an unknown name, a strength that is no positive number, a name twice.
    """
    terms = []
    for part in filter(None, text.split(",")):
        name, _, strength = part.partition(":")
        if name not in TERMS:
            raise ValueError(f'--regularize "{name}": it must be one of {", ".join(TERMS)}')
        try:
            terms.append((name, float(strength or 1)))
        except ValueError:
            raise ValueError(f'--regularize "{part}": a strength is a number, as in {name}:0.5') from None
        if not 0 < terms[-1][1] < float("inf"):
            raise ValueError(f'--regularize "{part}": a strength is a positive number')
    if len({name for name, _ in terms}) < len(terms):
        raise ValueError(f'--regularize "{text}": name each term once')
    return terms
