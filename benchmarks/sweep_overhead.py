"""What a sweep costs beside its runs: 500 runs of 20 ms, against their sum over the cores.

python benchmarks/sweep_overhead.py [--runs 500] [--ms 20] [--jobs 2] [--cluster]
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

import yaml
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rhmlib import results
from rhmlib.sweeps import sweep

LIMIT = 1.3


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Busy:
    """Keep a core busy for so many milliseconds of wall time."""

    tolerances: ClassVar[dict[str, float]] = {}
    ms: float = Field(ge=0, description="milliseconds")
    model_seed: int = Field(description="tells the runs apart")

    def run(self) -> list[dict[str, float]]:
        end = time.perf_counter() + self.ms / 1000
        while time.perf_counter() < end:
            pass
        return [{"level": 1, "accuracy": 1.0}]


def measure(root: Path, args: argparse.Namespace, scheduler: str | None) -> float:
    jobs = None if scheduler else args.jobs
    for scale in ("warm", "full"):
        start = time.perf_counter()
        sweep("busy", scale, jobs=jobs, scheduler=scheduler, root=root, progress=sys.stderr.isatty())
        wall = time.perf_counter() - start
    rows = results.read("busy", scale="full", root=root)
    ideal = rows["seconds"].sum() / args.jobs
    ratio = wall / ideal
    print(
        f"{len(rows)} runs of {args.ms:g} ms in {args.jobs} processes: {wall:.2f} s; "
        f"their sum / cores {ideal:.2f} s; ratio {ratio:.3f} (limit {LIMIT}); load {os.getloadavg()[0]:.1f}"
    )
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--ms", type=float, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--cluster", action="store_true", help="on a local dask cluster")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "params" / "sweeps").mkdir(parents=True)
        scales = {
            "warm": {"fixed": {"ms": args.ms}, "replicates": list(range(10**6, 10**6 + 20 * args.jobs))},
            "full": {"fixed": {"ms": args.ms}, "replicates": args.runs},
        }
        content = yaml.safe_dump({"learner": "sweep_overhead:Busy", "scales": scales})
        (root / "params" / "sweeps" / "busy.yaml").write_text(content)
        with _cluster(args.jobs) if args.cluster else nullcontext() as address:
            return int(measure(root, args, address) > LIMIT)


@contextmanager
def _cluster(jobs: int):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


if __name__ == "__main__":
    sys.exit(main())
