"""The course of one patient that the integration tests send through real servers."""

from __future__ import annotations

from datetime import date

from hospital import LEFT, RIGHT, Sphere, Study

BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=(
        Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="left lung"),
        Sphere(centre_lps=RIGHT, diameter_mm=12, is_prompted=True, label="right lung"),
    ),
)
FOLLOW_UP = Study(
    day=date(2024, 5, 6),
    spheres=(Sphere(centre_lps=LEFT, diameter_mm=8), Sphere(centre_lps=RIGHT, diameter_mm=8)),
)
