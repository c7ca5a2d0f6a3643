"""Three seeds of two cells on a two-node Ray cluster on this machine, one node killed midway; prints the final table.

    NAS_DATA=FOLDER python benchmarks/cluster_demo.py OUT [option of nas retrain …]

The nodes are real raylets at 127.0.0.2 (the head) and 127.0.0.3, of one CPU each. Each cell is one ``nas retrain``;
both commands share the cluster, so that six trainings fan out over two CPUs. As soon as two trainings have an epoch
behind them, the second node's raylet is killed.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nas.run.folder import Run, every
from nas.run.log import Epoch
from nas.run.names import EVENTS
from nas.run.results import TrainResult

CELLS = ("DARTS_V2", "PC_DARTS_cifar")
OPTIONS = "--preset quick --channels 4 --cells 3 --epochs 3 --limit 2000 --seeds 0,1,2"
GENOTYPES = Path(__file__).parents[1] / "tests" / "golden" / "genotypes.txt"


def main(out: Path, options: list[str]) -> None:
    """Runs all and prints the table."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "RAY_worker_niceness": "0"}
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    second = cluster.add_node(**node, node_ip_address="127.0.0.3")
    began = time.monotonic()
    commands = [start(out / cell, cell, cluster.address, options) for cell in CELLS]
    while sum(len(child.log(Epoch)) >= 1 for child in children(out)) < 2:
        time.sleep(0.2)
        assert all(command.poll() is None for command in commands), "a command ended too early"
    cluster.remove_node(second, allow_graceful=False)
    print(f"node 127.0.0.3 killed after {time.monotonic() - began:.0f} s", flush=True)
    statuses = [command.wait() for command in commands]
    print(f"exit statuses {statuses} after {time.monotonic() - began:.0f} s")
    cluster.shutdown()
    show(out)


def start(folder: Path, cell: str, address: str, options: list[str]) -> "subprocess.Popen[bytes]":
    """The command of one cell."""
    folder.mkdir(parents=True)
    genotype = GENOTYPES.read_text().split(f"\n{cell} = ")[1].splitlines()[0]
    (folder / "cell.txt").write_text(genotype)
    words = ["retrain", str(folder / "cell.txt"), *OPTIONS.split(), *options, "--cluster", address]
    return subprocess.Popen([sys.executable, "-m", "nas", *words, "--storage", str(folder / "runs")])


def children(out: Path) -> list[Run]:
    """All trainings, in the order of cells and seeds."""
    return [child for cell in CELLS for run in every(out / cell / "runs") for child in run.children]


def show(out: Path) -> None:
    """The table, and the lines of events.jsonl of those that were begun again."""
    print("| cell | seed 0 | seed 1 | seed 2 | mean | deviation over 3 seeds | parameters | MAdds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for cell in CELLS:
        results = [child.result(TrainResult) for run in every(out / cell / "runs") for child in run.children]
        accuracies = [result.test_accuracy or 0.0 for result in results]
        columns = [*accuracies, statistics.fmean(accuracies), statistics.stdev(accuracies)]
        figures = " | ".join(f"{value:.2%}" for value in columns)
        print(f"| {cell} | {figures} | {results[0].params:,} | {results[0].madds / 1e6:.1f}M |")
    for child in children(out):
        for event in events(child):
            if event["event"] == "resumed":
                print(f"{child.path.relative_to(out)}: resumed at step {event['step']}, epoch {event['epoch'] + 1}")


def events(run: Run) -> list[dict[str, Any]]:
    """The lines of events.jsonl."""
    return [json.loads(line) for line in (run.path / EVENTS).read_text().splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
