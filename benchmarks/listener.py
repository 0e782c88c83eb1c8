"""How fast the listener takes a study in, against Orthanc and DCMTK's storescp in the same run.

The listener writes each instance durably (fsync, rename) and commits a row before it answers; Orthanc writes
and indexes without that, storescp only writes. 512 x 512 slices of 0.5 MB over 1, 4 and 16 associations;
storescu sends to all.

    python benchmarks/listener.py --instances 240 --repeats 3 --former ../a-former-checkout
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).resolve().parent.parent
# Before this folder: a benchmark may have the name of a package.
sys.path.insert(0, str(ROOT))

from workflow.use_cases.demo import free_port  # noqa: E402

SIZE = 512
Process = subprocess.Popen[bytes]


def write_slices(folder: Path, count: int) -> None:
    """One CT series of noise."""
    random = np.random.default_rng(1)
    study, series = generate_uid(), generate_uid()
    for index in range(count):
        image = pydicom.Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.PatientID, image.Modality, image.InstanceNumber = "BENCH", "CT", index + 1
        image.Rows = image.Columns = SIZE
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = random.integers(-1000, 1000, (SIZE, SIZE), dtype=np.int16).tobytes()
        image.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nobody listens on port {port}")


def start_listener(folder: Path, port: int, checkout: Path = ROOT, processes: int = 1) -> Process:
    """Our listener, as a site runs it; of another version, if its checkout is given."""
    settings = {
        "TUMORLINE_HOME": str(folder),
        "TUMORLINE_LISTENER__PORT": str(port),
        "TUMORLINE_LISTENER__AE_TITLE": "ANY-SCP",
        "TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES": '["STORESCU"]',
        "TUMORLINE_LISTENER__MAXIMUM_ASSOCIATIONS": "32",
        "PYTHONPATH": str(checkout),
    }
    if processes > 1:
        settings["TUMORLINE_LISTENER__PROCESSES"] = str(processes)
    return subprocess.Popen(
        [sys.executable, "-m", "workflow", "up", "--only", "listener"],
        env={**os.environ, **settings}, cwd=checkout, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def start_storescp(folder: Path, port: int) -> Process:
    """DCMTK's, without the 40 ms that its socket options cost it by default."""
    return subprocess.Popen(
        ["storescp", "--fork", "-od", str(folder), str(port)],
        env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def start_orthanc(folder: Path, port: int) -> Process:
    """Orthanc with its SQLite index, without the same 40 ms."""
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomPort": port,
        "DicomAet": "ANY-SCP",
        "HttpServerEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    return subprocess.Popen(
        ["Orthanc", str(folder / "orthanc.json")],
        env={**os.environ, "TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def cpu_s(pid: int) -> float:
    """Processor time of a process and its children, seconds."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_s, children))


def rate(
    start: Callable[[Path, int], Process], parts: list[list[Path]], scratch: Path
) -> tuple[float, float]:
    """Instances per second, each part over its own association, and the receiver's ms of CPU for one."""
    folder, port = scratch / "received", free_port()
    folder.mkdir()
    receiver = start(folder, port)
    try:
        wait_for(port)
        started, cpu = time.perf_counter(), cpu_s(receiver.pid)
        senders = [
            subprocess.Popen(["storescu", "-R", "-aec", "ANY-SCP", "127.0.0.1", str(port), *map(str, part)])
            for part in parts
        ]
        if any(sender.wait() for sender in senders):
            raise RuntimeError("storescu failed")
        seconds, cpu = time.perf_counter() - started, cpu_s(receiver.pid) - cpu
    finally:
        receiver.terminate()
        receiver.wait()
        shutil.rmtree(folder)
    count = sum(map(len, parts))
    return count / seconds, 1000 * cpu / count


def main() -> None:
    """Print instances per second of each receiver and its ratio to the first, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--processes", type=int, default=1, help="of our listener")
    parser.add_argument("--former", type=Path, help="checkout of a former version, measured too")
    options = parser.parse_args()
    receivers: dict[str, Callable[[Path, int], Process]] = {
        "listener": partial(start_listener, processes=options.processes),
        "storescp": start_storescp,
    }
    if options.former:
        receivers["former"] = partial(start_listener, checkout=options.former.resolve())
    if shutil.which("Orthanc"):
        receivers["orthanc"] = start_orthanc
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "study").mkdir()
        write_slices(scratch / "study", options.instances)
        files = sorted((scratch / "study").iterdir())
        size = files[0].stat().st_size / 1e6
        for associations in options.associations:
            parts = [files[i::associations] for i in range(associations)]
            # Turn by turn, so that all meet the same load.
            rounds = [
                {name: rate(start, parts, scratch) for name, start in receivers.items()}
                for _ in range(options.repeats)
            ]
            line: dict[str, float] = {"associations": associations}
            for name in receivers:
                line[f"{name}_per_s"] = round(median(one[name][0] for one in rounds))
                line[f"{name}_cpu_ms"] = round(median(one[name][1] for one in rounds), 1)
            for name in receivers:
                if name != "listener":
                    line[f"to_{name}"] = round(median(one["listener"][0] / one[name][0] for one in rounds), 2)
            line |= {"listener_mb_per_s": round(line["listener_per_s"] * size), "load": os.getloadavg()[0]}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
