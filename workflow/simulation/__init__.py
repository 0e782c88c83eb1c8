"""Studies with a known truth: nodules implanted in real CT, and real CT after another breath.

`nodules` puts a nodule of known size into a volume, `course` makes cases of several time points in
memory (`hundred_cases` for benchmarks), `breathing` deforms, `studies` writes DICOM studies and
their truth files (`demo_studies`). Everything is determined by its seed.
"""
