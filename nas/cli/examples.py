"""What ``--help`` shows to begin with, a command's examples each; a test reads them all as their commands do."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "search": (
        "nas search --space darts+sandglass --preset quick",
        "nas search --space darts --method fairdarts --seeds 0,1,2",
        "nas search --resume last",
    ),
    "derive": ("nas derive last --select strongest,budget --max-madds 500M --curve",),
    "show": ("nas show last", "nas show last --to svg --out cell.svg", "nas show --diff RUN RUN"),
    "tune": (
        "nas tune --space mobilenext --budget 20M --budget 40M --trials 60 --preset quick",
        "nas tune --space hbonet --budget 20M --set contraction=4 --parallel 2",
    ),
    "retrain": (
        "nas retrain last --preset quick",
        "nas retrain RUN RUN --seeds 0,1,2",
        "nas retrain --init torchvision:mobilenet_v2 --data photos --image-size 224 --preset fast",
    ),
    "study": ("nas study --space darts --space darts+sandglass --preset quick", "nas study STUDY.toml --dry-run"),
    "plan": ("nas plan --space darts --detect 0.3",),
    "evaluate": ("nas evaluate last",),
    "export": ("nas export last --to onnx", "nas export last --to int8 --out small.onnx"),
    "report": ("nas report last --open",),
    "runs": ("nas runs",),
    "clean": ("nas clean", "nas clean --caches --yes"),
    "compare": ("nas compare last RUN",),
    "cost": (
        "nas cost --space mobilenet_v2 --width 0.5 --resolution 160",
        "nas cost last --latency",
        "nas cost --list",
    ),
    "lookup": ("nas lookup last",),
    "bench": ("nas bench search",),
    "doctor": ("nas doctor",),
}
