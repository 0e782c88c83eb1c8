"""Feed mutated objects to reading and to a live listener: nothing crashes, hangs, grows or leaves the store.

    make fuzz                                    # 2000 objects of seed 1
    make fuzz FUZZ="--objects 100000 --seed 7 --real FOLDER"

Objects are read in child processes, so that the one that ends its process is known by its number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dicom_io.conflicts import compare_files  # noqa: E402
from dicom_io.frames import read_frames  # noqa: E402
from dicom_io.headers import read_header  # noqa: E402
from dicom_io.keeping import keep_file  # noqa: E402
from dicom_io.pixels import pixel_digest  # noqa: E402
from dicom_io.prompts import read_visit_prompts  # noqa: E402
from dicom_io.references import referenced_uids  # noqa: E402
from dicom_io.series import describe_study  # noqa: E402
from dicom_io.volumes import read_volume  # noqa: E402
from tests.fuzz.mutations import mutated, seed_objects  # noqa: E402
from workflow.domain.errors import TransientError, UnsuitableInputError  # noqa: E402

AT_ONCE = 200
LONGEST_S = 60
MOST_MEMORY = 6 << 30


class HangError(BaseException):
    """An object took too long."""


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer; only in a main thread."""

    def late(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read_all_ways(path: Path, whole: Sequence[Path]) -> Counter[str]:
    """Everything that the stages do with a received file; what each way came to."""
    ended: Counter[str] = Counter()
    ways = {
        "header": lambda: read_header(path),
        "frames": lambda: read_frames(path),
        "digest": lambda: pixel_digest(path),
        "references": lambda: referenced_uids(path),
        "describe": lambda: describe_study([path, *whole]),
        "volume": lambda: read_volume([path]),
        "prompts": lambda: read_visit_prompts([path], whole),
        "compare": lambda: compare_files(whole[0], path),
        "keep": lambda: keep_file(path.read_bytes(), path.parent / "kept", "FUZZ"),
    }
    for name, way in ways.items():
        try:
            way()
            ended[f"{name}: read"] += 1
        except (UnsuitableInputError, TransientError):
            ended[f"{name}: refused"] += 1
    return ended


def outside(store: Path, allowed: Sequence[Path]) -> list[Path]:
    """Files in a folder's parent that nobody put there."""
    known = {*allowed, store}
    return [
        path
        for path in store.parent.rglob("*")
        if path.is_file() and not any(one == path or one in path.parents for one in known)
    ]


def batch(seed: int, first: int, count: int, real: Sequence[Path]) -> None:
    """Read some objects; say after each how it went, one JSON line each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = seed_objects(folder, real)
        whole = sorted((folder / "seeds").glob("ct_*.dcm"))
        store = folder / "store"
        store.mkdir()
        for number in range(first, first + count):
            path = store / "object.dcm"
            path.write_bytes(mutated(objects, seed, number))
            print(json.dumps({"begun": number}), flush=True)
            started = time.monotonic()
            with in_time(LONGEST_S):
                ended = read_all_ways(path, whole)
            left = outside(store, [folder / "seeds"])
            if left:
                raise RuntimeError(f"object {number} wrote {left}")
            seconds = round(time.monotonic() - started, 2)
            print(json.dumps({"done": number, "seconds": seconds, "ended": dict(ended)}), flush=True)


def main() -> None:
    """Run batches in children; end with 1 and the numbers of the objects that something is wrong with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", type=Path, help="folder of real objects, changed too")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    real = sorted(options.real.rglob("*.dcm"))[:200] if options.real else []
    if options.batch is not None:
        batch(options.seed, options.batch, min(AT_ONCE, options.objects - options.batch), real)
        return
    wrong: list[dict[str, object]] = []
    ended: Counter[str] = Counter()
    slowest: tuple[float, int] = (0.0, 0)
    first = 0
    while first < options.objects:
        command = [sys.executable, __file__, *sys.argv[1:], "--batch", str(first)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            ended.update(line.get("ended", {}))
            if "done" in line:
                slowest = max(slowest, (line["seconds"], line["done"]))
        begun = [line["begun"] for line in lines if "begun" in line]
        if child.returncode == 0:
            first += AT_ONCE
            continue
        if not begun:
            raise SystemExit(child.stderr)
        last = child.stderr.strip().splitlines()[-1:] or [f"signal {-child.returncode}"]
        wrong.append({"object": begun[-1], "ended": child.returncode, "by": last[0]})
        first = begun[-1] + 1
    said = {
        "objects": options.objects,
        "seed": options.seed,
        "wrong": wrong,
        "ended": dict(sorted(ended.items())),
    }
    print(json.dumps({**said, "slowest_s": slowest[0], "slowest_object": slowest[1]}, indent=1))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
