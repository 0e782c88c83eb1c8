"""How fast the listener takes a study in, against DCMTK's storescp in the same run.

The listener writes each instance durably (fsync, rename) and commits a row before it answers; storescp only
writes the file. 512 x 512 slices of 0.5 MB over one and over four associations; storescu sends to both.

    python benchmarks/listener.py --instances 300 --repeats 3
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
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

# Before this folder: a benchmark may have the name of a package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workflow.use_cases.demo import free_port

SIZE = 512


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


def start_listener(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Our listener, as a site runs it."""
    settings = {
        "TUMORLINE_HOME": str(folder),
        "TUMORLINE_LISTENER__PORT": str(port),
        "TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES": '["STORESCU"]',
    }
    return subprocess.Popen(
        [sys.executable, "-m", "workflow", "up", "--only", "listener"], env={**os.environ, **settings}
    )


def start_storescp(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """DCMTK's, without the 40 ms that its socket options cost it by default."""
    return subprocess.Popen(
        ["storescp", "--fork", "-od", str(folder), str(port)],
        env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def rate(
    start: Callable[[Path, int], subprocess.Popen[bytes]], parts: list[list[Path]], scratch: Path
) -> float:
    """Instances per second, each part over an association of its own."""
    folder, port = scratch / "received", free_port()
    folder.mkdir()
    receiver = start(folder, port)
    try:
        wait_for(port)
        started = time.perf_counter()
        senders = [
            subprocess.Popen(["storescu", "-R", "127.0.0.1", str(port), *map(str, part)]) for part in parts
        ]
        if any(sender.wait() for sender in senders):
            raise RuntimeError("storescu failed")
        seconds = time.perf_counter() - started
    finally:
        receiver.terminate()
        receiver.wait()
        shutil.rmtree(folder)
    return sum(map(len, parts)) / seconds


def main() -> None:
    """Print instances per second of both, and their ratio, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "study").mkdir()
        write_slices(scratch / "study", options.instances)
        files = sorted((scratch / "study").iterdir())
        for associations in (1, 4):
            parts = [files[i::associations] for i in range(associations)]
            # Turn by turn, so that both meet the same load.
            pairs = [
                (rate(start_listener, parts, scratch), rate(start_storescp, parts, scratch))
                for _ in range(options.repeats)
            ]
            ours, theirs = (median(side) for side in zip(*pairs, strict=True))
            print(
                json.dumps(
                    {
                        "associations": associations,
                        "listener_per_s": round(ours),
                        "storescp_per_s": round(theirs),
                        "ratio": round(median(o / t for o, t in pairs), 2),
                        "load": os.getloadavg()[0],
                    }
                )
            )


if __name__ == "__main__":
    main()
