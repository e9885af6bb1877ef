"""Four nodes of a Ray cluster share a plan: each job once, also when one is killed, and none waits for long.

The nodes are ray's own processes on this machine, each with the lock and the folder of a machine. They share
its CPUs: what is compared is the time of the whole with the time that the busiest node was measuring, on the
same machine at the same time.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rig import report
from rig.claimants import make_template

from bakeoff.orchestrator import Quiet, bench, open_project

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from clusters import Command, Nodes, list_attempts, wait_for_any
from copies import copy_unmeasured

NODES = ("a", "b", "c", "d")
N_JOBS = 8
MAX_RATIO = 1.2
SCENARIOS = ", ".join(f"{{kind: latency, batch_sizes: [{size}]}}" for size in range(1, N_JOBS + 1))
PROTOCOL = (
    "{processes: 6, rounds: 5, block_s: 0.05, warmup_min_s: 1.0, warmup_max_s: 2.0, time_budget_s: 600}"
)
# Heats of one candidate that computes nothing: what they cost is processes and warm-ups, as with any other.
SETTINGS = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    f"benchmark.scenarios=[{SCENARIOS}]",
    f"benchmark.protocol={PROTOCOL}",
    "benchmark.accept_contended=true",
)
_TOOK = re.compile(r"jobs on node (?P<node>.+) took (?P<wall_s>[\d.]+) s")


@dataclass
class Shares(Quiet):
    """Adds up how long each node was busy."""

    busy_s: dict[str, float] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Listen."""
        if match := _TOOK.search(line):
            self.busy_s[match["node"]] = self.busy_s.get(match["node"], 0.0) + float(match["wall_s"])


def main() -> int:
    """Measure with all nodes, then with one that is killed."""
    with tempfile.TemporaryDirectory(prefix="ray-nodes-") as name, Nodes(Path(name) / "nodes") as cluster:
        for node in NODES:
            cluster.start(node)
        template = make_template(Path(name))
        warm = copy_unmeasured(template, Path(name) / "warm")
        bench(open_project(warm, cluster.overrides(*SETTINGS, "benchmark.protocol.processes=2")))
        n_once, ratio = share(cluster, copy_unmeasured(template, Path(name) / "all"))
        n_again, n_untouched, n_done = kill_one(cluster, copy_unmeasured(template, Path(name) / "killed"))
    print(
        f"{len(NODES)} nodes: {n_once} of {N_JOBS} jobs measured once; wall {ratio:.2f} × the busiest's share"
    )
    print(f"one node killed: {n_again} measured once more, {n_untouched} untouched, {n_done} done")
    return report(
        "ray_nodes",
        f"{n_once} of {N_JOBS} jobs once, wall {ratio:.2f} × the busiest node's share; of a killed node "
        f"{n_again} job measured once more, {n_untouched} untouched",
        f"{N_JOBS} once, at most {MAX_RATIO}; 1 and {N_JOBS - 1}",
        (n_once, n_again, n_untouched, n_done) == (N_JOBS, 1, N_JOBS - 1, N_JOBS) and ratio <= MAX_RATIO,
    )


def share(cluster: Nodes, config: Path) -> tuple[int, float]:
    """How many jobs are measured once, and the time of the whole over the busiest node's."""
    shares = Shares()
    result = bench(open_project(config, cluster.overrides(*SETTINGS), shares))
    for node, busy_s in sorted(shares.busy_s.items()):
        print(f"node {node}: busy for {busy_s:.1f} of {result.wall_s:.1f} s")
    attempts = Counter(key for key, _, is_done in list_attempts(config.parent / "results") if is_done)
    return sum(count == 1 for count in attempts.values()), result.wall_s / max(shares.busy_s.values())


def kill_one(cluster: Nodes, config: Path) -> tuple[int, int, int]:
    """Kill the first node that is seen measuring; jobs that were measured again, not touched, and done."""
    command = Command(config, cluster.overrides(*SETTINGS))
    process = command.start()
    hit = wait_for_any(list(cluster.nodes.values()), "results/work/heat-*/repeat-000.json", process)
    cluster.kill(hit.name)
    process.join()
    attempts = list_attempts(config.parent / "results")
    done = Counter(key for key, _, is_done in attempts if is_done)
    again = {key for key, number, is_done in attempts if is_done and number == 2}
    untouched = {key for key, number, is_done in attempts if is_done and number == 1}
    return len(again), len(untouched), sum(count == 1 for count in done.values())


if __name__ == "__main__":
    sys.exit(main())
