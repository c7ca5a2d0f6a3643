"""Command lines, drawn from the parameters of the commands themselves: of words that fit, and of odd ones."""

from collections.abc import Sequence
from random import Random
from typing import Any

import typer

from nas import cli
from nas.commands.targets import SPECS
from nas.methods import METHODS
from nas.presets import TRAIN_PRESETS


def listed(text: str) -> list[str]:
    """Its words."""
    return text.split()


WHOLE = listed("0 1 2 3 4 8 16 40")
NUMBERS = [*WHOLE, *listed("0.1 0.5 1.0 3e-4 0.01")]
ODD_NUMBERS = listed("-1 -0 1e308 -1e308 1e-320 nan inf -inf 1_0 ٣ 0x10 1e400 0.99999999999999999")
ODD_NUMBERS += ["", " 7 ", "9" * 5000, *(str(number) for number in (2**31, 2**63, 2**64, 10**30))]
ODD = listed(". .. - -- //x ~ * é 😀 [/x] [bold] {} {task.total} %s $(x) `x` ' \" \\ a=b a:b a,b , + : =")
ODD += listed("None null true NaN [1,2 1,2,3 ../../x last last: last:x nowhere/x")
ODD += ["", " ", "x" * 300, "y" * 5000, "[" * 3000, "a\nb", "a\tb", "a\udcffb"]
FILES = listed("""
cell.txt ./cell.txt cell.json macro.json genotype.json cell.graphml space.toml study.toml settings.toml my_hbonet.toml
my_sandglass.toml my_nasbench201.toml my_s1.toml ops.py bad.json empty table.csv images data runs runs/found
runs/trained found trained last:search runs/found/log.jsonl runs/found/settings.json runs/trained/weights.safetensors
new new.json new.png
""")
SPACES = listed("""
darts darts+sandglass darts+ir:t=3 darts+asymmetric:r=0.5 nasbench201 s1 darts+ir+ir space.toml space.toml+sandglass
mobilenet_v2 mobilenext hbonet asymmnet mobilenet_v3 my_hbonet.toml
""")
WORDS: dict[str, Sequence[str]] = {
    "space": SPACES,
    "method": tuple(METHODS),
    "preset": (*TRAIN_PRESETS, "quick", "quick"),
    "recipe": tuple(TRAIN_PRESETS),
    "data": ("digits", "digits", "cifar10", "images", "data", "cifar100"),
    "data_root": ("data", "images"),
    "target": ("found", "trained", "found", "trained", "cell.txt", "cell.json", "genotype.json", "macro.json", "last"),
    "targets": ("found", "trained", "cell.txt", "cell.json", "genotype.json", "macro.json", "last"),
    "file": ("study.toml",),
    "budget": ("1M", "3M", "20M", "0.5G", "1K", "7"),
    "max_madds": ("1M", "500M", "10K"),
    "max_params": ("3.3M", "1K"),
    "seeds": ("0,1", "3", "0"),
    "retrain_seeds": ("0,1", "3"),
    "fixed": ("expansion=6", "width=1", "identity=1/2", "contraction=4", "cells=3", "resolution=0.5", "steps=[1,2]"),
    "only": ("expansion", "identity", "channels", "width"),
    "changes": ("search.epochs=2", "retrain.batch=4", "final.cells=3", "search.space=darts"),
    "regularize": ("beta-decay:25", "zero-one", "beta-decay:25,zero-one", "madds:1"),
    "keep": ("5,3", "3", "2,1"),
    "stage_partials": ("4,2", "1,1"),
    "select": ("strongest", "gdas", "threshold", "perturbation", "budget", "strongest,gdas"),
    "objectives": ("accuracy", "accuracy,madds", "accuracy,latency"),
    "to": ("svg", "png", "dot", "graphml", "json", "onnx", "int8", "torch", "markdown", "csv", "latex"),
    "figure": ("curves", "madds", "stages"),
    "command": tuple(SPECS),
    "resolution": ("32", "64x32", "224"),
    "stem": ("cifar", "imagenet"),
    "device": ("cpu", "cuda", "cuda:0"),
    "threads": ("1",),
    "backend": ("auto", "library", "native", "triton"),
    "cluster": ("local", "10.255.255.1:6379", "http://localhost:1"),
    "storage": ("new", "s3://x/y", "memory://x"),
    "init": ("trained", "torchvision:mobilenet_v2", "torchvision:x", "runs/trained/weights.safetensors"),
    "what": ("search", "retrain", "macro"),
    "identity": ("1", "1/2", "0.25", "1,1/2"),
    "expansion": ("6", "2", "3,4"),
}
"""What fits a parameter of that name; others fit a number, a file, or what a shell would complete."""
LIKELY = ("space", "budget", "data", "preset")
SPOILERS = ("help", "version", "install_completion", "show_completion")


def commands() -> dict[tuple[str, ...], Any]:
    """All commands by their words, subcommands among them."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        inside = getattr(command, "commands", None)
        if inside is None:
            found[words] = command
        for name, each in (inside or {}).items():
            walk(each, (*words, name))

    walk(typer.main.get_command(cli.app()), ())
    return found


COMMANDS = commands()


def numbers_for(parameter: Any) -> list[str]:
    """What fits a parameter that takes a number, as its command says; else nothing."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if kind is int or parameter.metavar == "WHOLE NUMBER":
        return WHOLE
    return NUMBERS if kind is float or parameter.metavar == "NUMBER" else []


def value_of(parameter: Any, stream: Random) -> str:
    """A word for a parameter: seven of eight fit."""
    numbers = numbers_for(parameter)
    if stream.random() < 0.875:
        return stream.choice(WORDS.get(parameter.name) or numbers or [*completions(parameter), *FILES])
    return stream.choice((stream.choice(ODD_NUMBERS if numbers else ODD), stream.choice(FILES), text(stream)))


def completions(parameter: Any) -> list[str]:
    """What a shell would complete; runs are those of the folder, named in FILES."""
    context = typer.Context(COMMANDS[next(iter(COMMANDS))])
    return [item.value for item in parameter.shell_complete(context, "")]


def text(stream: Random) -> str:
    """Any characters that a process can be handed."""
    codes = [stream.choice((stream.randint(1, 127), stream.randint(1, 0x10FFFF))) for _ in range(stream.randint(1, 9))]
    return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def words_of(parameter: Any, stream: Random) -> list[str]:
    """A parameter as it stands on a command line."""
    names = [*parameter.opts, *parameter.secondary_opts]
    values = [value_of(parameter, stream) for _ in range(max(1, parameter.nargs))]
    if not names[0].startswith("-"):
        return values
    return [stream.choice(names), *([] if getattr(parameter, "is_flag", False) else values)]


def line(stream: Random) -> list[str]:
    """A command line: a command, most of its arguments, what it cannot do without, up to four options, any order."""
    name = stream.choice(sorted(COMMANDS))
    every = [each for each in COMMANDS[name].params if each.name not in SPOILERS]
    arguments = [each for each in every if not each.opts[0].startswith("-")]
    options = [each for each in every if each not in arguments]
    wanted = [*arguments, *(each for each in options if each.required or each.name in LIKELY)]
    chosen = [each for each in wanted if stream.random() < 0.9]
    chosen += stream.choices(options, k=stream.choice((0, 1, 1, 2, 3, 4))) if options else []
    stream.shuffle(chosen)
    return [*name, *(word for each in chosen for word in words_of(each, stream))]
