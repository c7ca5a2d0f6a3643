"""Fills a table of `nas latency export --to onnx` on the machine that it runs on.

    python measure_latency.py FOLDER --device "Raspberry Pi 5" --soc BCM2712 [--threads 1] [--repeats 30]

Needs onnxruntime and numpy alone, so that this file and FOLDER can be copied to a device. Models take turns by rounds,
so that drift hits all alike; a mean is that of the middle half of the runs, as other work disturbs single ones.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime

WARMUP = 3
"""Rounds before those that count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--soc", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args()
    measure(given.folder, given.device, given.soc, given.threads, given.repeats)


def measure(folder: Path, device: str, soc: str, threads: int, repeats: int) -> None:
    """Fills FOLDER/table.csv."""
    table = folder / "table.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    sessions = [session(folder / f"{row['model']}.onnx", threads) for row in rows]
    images = [np.random.default_rng(0).standard_normal(shape(each), dtype=np.float32) for each in sessions]
    times: list[list[float]] = [[] for _ in rows]
    for _ in range(WARMUP + repeats):
        for one, image, taken in zip(sessions, images, times, strict=True):
            start = time.perf_counter()
            one.run(None, {"images": image})
            taken.append(1000 * (time.perf_counter() - start))
    for row, taken in zip(rows, times, strict=True):
        counted = sorted(taken[WARMUP:])
        middle = counted[len(counted) // 4 : len(counted) - len(counted) // 4]
        row |= {"mean_ms": f"{statistics.fmean(middle):.5f}", "deviation_ms": f"{statistics.stdev(counted):.5f}"}
        row |= {"count": str(len(counted)), "device": device, "soc": soc, "threads": str(threads)}
        row["runtime"] = f"onnxruntime {onnxruntime.__version__}"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A model, ready to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def shape(one: onnxruntime.InferenceSession) -> tuple[int, ...]:
    """Of one image: the batch is the model's free side."""
    (images,) = one.get_inputs()
    return (1, *images.shape[1:])


if __name__ == "__main__":
    main()
