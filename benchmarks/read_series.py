"""Reading a CT series from disk into HU: Tumorline beside SimpleITK's ImageSeriesReader (GDCM).

    python benchmarks/read_series.py [--slices 300] [--side 512] [--compressed] [--repeats 5]

Both read the same files into one array, one after the other, each in a process of its own for the peak
memory; the ratio is of the medians measured in this run. Tumorline's time includes describing the series
from its headers (positions, splitting, choice), SimpleITK's includes sorting the files.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_series(folder: Path, slices: int, side: int, *, compressed: bool) -> None:
    """A noisy CT cylinder, one file per slice, named in random order."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

    rng = np.random.default_rng(7)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    row, column = np.mgrid[:side, :side] - side / 2
    body = np.where(np.hypot(row, column) < side * 0.4, 1064, 24)
    for number, name in enumerate(rng.permutation(slices)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = Dataset()
        image.file_meta = meta
        image.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame_of_reference
        image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.PatientID, image.PatientName = "BENCH", "Bench^Mark"
        image.StudyDate, image.StudyTime = "20240102", "101112"
        image.InstanceNumber = number + 1
        image.ImagePositionPatient = [-200.0, -200.0, -300.0 + 1.5 * number]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [0.8, 0.8], 1.5
        image.Rows = image.Columns = side
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelRepresentation = 0
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        pixels = np.clip(body + rng.integers(-20, 20, body.shape), 0, 4095).astype(np.uint16)
        image.PixelData = pixels.tobytes()
        if compressed:
            image.compress(JPEGLSLossless, generate_instance_uid=False)
        image.save_as(folder / f"{name:05d}.dcm", enforce_file_format=True)


def read_with_tumorline(folder: Path) -> float:
    """Mean HU, so that the work can't be skipped."""
    from dicom_io.volumes import read_folder

    return float(read_folder(folder).volume.array.mean())


def read_with_simpleitk(folder: Path) -> float:
    """The same with GDCM."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    return float(SimpleITK.GetArrayViewFromImage(image).mean())


READERS = {"tumorline": read_with_tumorline, "simpleitk": read_with_simpleitk}


def measure(reader: str, folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds and peak growth of memory in MiB, in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--child",
        reader,
        "--folder",
        str(folder),
        "--repeats",
        str(repeats),
    ]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def _child(reader: str, folder: Path, repeats: int) -> None:
    read = READERS[reader]
    first = next(folder.iterdir())
    alone = folder.parent / "one"
    alone.mkdir(exist_ok=True)
    (alone / first.name).write_bytes(first.read_bytes())
    read(alone)  # imports are not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        mean = read(folder)
        seconds.append(time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": statistics.median(seconds), "peak_mib": grown, "mean": mean}))


def main() -> None:
    """Write the series, let both read it, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compressed", action="store_true", help="JPEG-LS lossless")
    parser.add_argument("--child", choices=sorted(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child, options.folder, options.repeats)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "series"
        folder.mkdir()
        write_series(folder, options.slices, options.side, compressed=options.compressed)
        results = {name: measure(name, folder, options.repeats) for name in READERS}
    array_mib = options.slices * options.side**2 * 2 / 2**20
    for name, result in results.items():
        peak, seconds = result["peak_mib"], result["seconds"]
        print(f"{name:10s} {seconds:6.2f} s, peak +{peak:.0f} MiB ({peak / array_mib:.2f} x the array)")
    ours, peer = results["tumorline"], results["simpleitk"]
    print(f"ratio      {ours['seconds'] / peer['seconds']:6.2f} (below 1: faster than SimpleITK)")
    if abs(ours["mean"] - peer["mean"]) > 1e-6:
        raise SystemExit(f"the means differ: {ours['mean']} and {peer['mean']}")


if __name__ == "__main__":
    main()
