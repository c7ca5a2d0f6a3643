"""A study on a two-node Ray cluster on this machine, of which one node dies midway and another one joins.

    NAS_DATA=FOLDER python -m benchmarks.study_cluster STUDY.toml OUT

The nodes are real raylets at 127.0.0.2 (the head) and 127.0.0.3, of one CPU each. The second is killed as soon as two
epochs are done; a fresh one takes its place a minute later. OUT/runs holds the study's run; where it
is begun already, it goes on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cluster_demo import events
from nas.run.folder import every
from nas.run.log import Epoch
from nas.run.names import EVENTS


def main(study: Path, out: Path) -> None:
    """Runs the study, and prints when which node died and what was begun again."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "RAY_worker_niceness": "0"}
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    second = {**node, "node_ip_address": "127.0.0.3"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    victim = cluster.add_node(**second)
    began = time.monotonic()
    begun = every(out / "runs") if (out / "runs").is_dir() else []
    what = ["--resume", str(begun[0].path)] if begun else [str(study), "--threads", "1", "--storage", str(out / "runs")]
    command = subprocess.Popen([sys.executable, "-m", "nas", "study", *what, "--cluster", cluster.address])
    before = epochs(out)
    while epochs(out) < before + 2:
        time.sleep(1)
        assert command.poll() is None, "the study ended too early"
    cluster.remove_node(victim, allow_graceful=False)
    print(f"node 127.0.0.3 killed after {time.monotonic() - began:.0f} s", flush=True)
    time.sleep(60)
    cluster.add_node(**second)
    print(f"another node joined after {time.monotonic() - began:.0f} s", flush=True)
    print(f"exit status {command.wait()} after {time.monotonic() - began:.0f} s")
    cluster.shutdown()
    for run in every(out / "runs"):
        for child in run.children:
            for event in events(child) if (child.path / EVENTS).is_file() else ():
                if event["event"] == "resumed":
                    print(f"{child.path.name}: resumed at step {event['step']}, epoch {event['epoch'] + 1}")


def epochs(out: Path) -> int:
    """That are logged of all searches and trainings."""
    runs = every(out / "runs") if (out / "runs").is_dir() else []
    return sum(len(child.log(Epoch)) for run in runs for child in run.children)


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:3]))
