"""nas lookup"""

from typing import Annotated

import typer

from nas.cli import common


def lookup(
    target: Annotated[
        str, typer.Argument(metavar="RUN|GENOTYPE", help="A run (path, name or last), a genotype file, or |op~0|+….")
    ],
    runs: common.Runs = None,
    json: common.Json = False,
) -> None:
    """Tell the tabulated CIFAR-10 accuracy and rank of a NAS-Bench-201 cell: nas lookup last."""
    from dataclasses import asdict

    from nas.cells.genotype import from_text, to_text
    from nas.commands.targets import genotype_of
    from nas.reports.nasbench201 import key_of, look_up, read_table

    genotype = from_text(target) if target.startswith("|") else genotype_of(target, runs)
    key_of(genotype)  # its mistakes come before those of the installation
    places = look_up(genotype, read_table())
    if json:
        common.print_json({"cell": to_text(genotype), **asdict(places)})
        return
    print(to_text(genotype))
    for kind, place in (("32 bits", places.fp32), ("8 bits, PTQ", places.ptq), ("8 bits, QAT", places.qat)):
        print(f"{kind:12} {place.accuracy:7.2%} of CIFAR-10's test images  rank {place.rank:,} of {places.cells:,}")
