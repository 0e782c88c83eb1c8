"""How long a large CT's results take: 512 x 512 x 600 voxels, 20 lesions, SEG and SR and the gate.

    python benchmarks/encode_results.py [--overlapping] [--labelmap]

Prints seconds, frames, file size and the process's peak memory. The CT's pixels are zeros that take no
memory, so that the figure is the encoding's own.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from phantoms import Phantom, PhantomSlice, PhantomSource, reported_lesion, time_point_report

from dicom_io.results import ResultSettings, SegmentationType, build_results, to_bytes, validate
from workflow.domain.geometry import Mask, Volume

SHAPE = (600, 512, 512)
RADIUS_VOXELS = (15, 12, 12)


def source_in(folder: Path) -> PhantomSource:
    """600 headers without pixels, and a volume of zeros."""
    phantom = Phantom(shape=SHAPE, spacing_mm=(1.0, 0.8, 0.8))
    volume = Volume(array=np.zeros(SHAPE, dtype=np.int16), affine=phantom.affine)
    template = Phantom(shape=(1, 512, 512), spacing_mm=(1.0, 0.8, 0.8)).datasets()[0]
    del template.PixelData
    slices = []
    for index in range(SHAPE[0]):
        template.SOPInstanceUID, template.InstanceNumber = phantom.uid(2, index + 1), index + 1
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.ImagePositionPatient = [float(x) for x in volume.lps(np.array([index, 0, 0]))]
        path = folder / f"{index:04d}.dcm"
        template.save_as(path, enforce_file_format=True)
        slices.append(PhantomSlice(template.SOPInstanceUID, template.SOPClassUID, None, path))
    return PhantomSource(volume, tuple(slices), phantom.description(slices))


def ellipsoid_at(centre: tuple[int, int, int]) -> Mask:
    """An ellipsoid of 31 slices and 25 x 25 pixels."""
    grid = np.meshgrid(*[np.arange(-r, r + 1) / (r + 0.5) for r in RADIUS_VOXELS], indexing="ij")
    start = tuple(c - r for c, r in zip(centre, RADIUS_VOXELS, strict=True))
    return Mask.from_array(sum(g**2 for g in grid) <= 1, (start[0], start[1], start[2]), SHAPE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--overlapping", action="store_true", help="let each two lesions share voxels")
    parser.add_argument("--labelmap", action="store_true", help="write a LABELMAP SEG")
    wanted = parser.parse_args()
    settings = ResultSettings(writes_pdf=False)
    if wanted.labelmap:
        settings = replace(settings, segmentation_type=SegmentationType.LABELMAP)
    with tempfile.TemporaryDirectory() as folder:
        source = source_in(Path(folder))
        step = 14 if wanted.overlapping else 28
        masks = [ellipsoid_at((20 + step * n, 60 + 20 * (n % 2), 80 + 15 * (n % 2))) for n in range(20)]
        lesions = [reported_lesion(source.volume, mask, f"T{n:02d}") for n, mask in enumerate(masks, start=1)]
        report = time_point_report(source, lesions)
        build_results(replace(report, lesions=report.lesions[:1]), [source], settings=settings)  # imports
        used, started = time.process_time(), time.perf_counter()
        results = build_results(report, [source], settings=settings)
        built, used = time.perf_counter(), time.process_time() - used
        files = [to_bytes(made) for made in results.all]
        written = time.perf_counter()
        checked = validate(results)
        ended = time.perf_counter()
    assert results.seg is not None
    print(f"{SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]}, {len(lesions)} lesions, {results.seg.SegmentationType}")
    print(f"frames          {results.seg.NumberOfFrames}")
    print(f"encode          {built - started:.2f} s, {used:.2f} s of one processor")
    print(f"to bytes        {written - built:.2f} s, {sum(map(len, files)) / 1e6:.1f} MB")
    print(f"gate            {ended - written:.2f} s, {'valid' if checked.is_valid else checked}")
    print(f"peak memory     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
