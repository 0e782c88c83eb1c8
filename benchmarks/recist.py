"""How fast the response engine is: 10,000 random timelines from documents to results.

    python benchmarks/recist.py [number]

Prints the seconds for the whole way (parse, assess, write); fails above ten seconds of CPU.
"""

from __future__ import annotations

import datetime
import json
import random
import sys
import time

from workflow.documents.document import parse_document
from workflow.documents.result import json_line, result_of
from workflow.domain.response import assess

LIMIT_S = 10.0


def random_document(number: int, source: random.Random) -> dict[str, object]:
    """A patient with two to seven lesions, four to ten time points and some of everything that goes wrong."""
    lesions = [
        {"id": f"L{i}", "role": role, "organ": source.choice(["liver", "lung", "node"]), "is_nodal": i == 2}
        for i, role in enumerate(
            source.choices(["target", "target", "non_target", "new"], k=source.randint(2, 7))
        )
    ]
    start = datetime.date(2024, 1, 1)
    points = []
    for visit in range(source.randint(4, 10)):
        seen = [
            _observation(lesion, visit, source) for lesion in lesions if lesion["role"] != "new" or visit > 2
        ]
        date = start + datetime.timedelta(days=56 * visit)
        points.append({"id": f"V{visit}", "date": date.isoformat(), "observations": seen})
    criteria = source.choice(["recist-1.1", "irecist"])
    return {"name": f"P{number}", "criteria": criteria, "lesions": lesions, "time_points": points}


def _observation(lesion: dict[str, object], visit: int, source: random.Random) -> dict[str, object]:
    if visit and source.random() < 0.05:
        return {"lesion": lesion["id"], "state": source.choice(["not_evaluable", "too_small", "disappeared"])}
    return {"lesion": lesion["id"], "diameter_mm": round(source.uniform(8, 60), 1)}


def main(number: int) -> float:
    """CPU seconds for that many timelines; the wall clock of a shared machine tells less."""
    source = random.Random(20240101)
    lines = [json.dumps(random_document(i, source)) for i in range(number)]
    began, began_cpu = time.perf_counter(), time.process_time()
    written = 0
    for line in lines:
        document = parse_document(json.loads(line, parse_float=str))
        written += len(json_line(result_of(assess(document.timeline, document.protocol), name=document.name)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    each = 1e3 * seconds / number
    print(f"{number} timelines in {seconds:.2f} s, {cpu:.2f} s of them CPU ({each:.2f} ms each)")
    print(f"{written / 1e6:.1f} MB of results")
    return cpu


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if main(count) > LIMIT_S * count / 10_000:
        sys.exit(f"more than {LIMIT_S} s of CPU for 10,000 timelines")
