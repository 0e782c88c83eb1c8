"""Result objects of phantoms, each made once per run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from result_cases import CASES, Case

from dicom_io.results import build_results, to_bytes


@pytest.fixture(scope="session")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A case by name."""
    made: dict[str, Case] = {}

    def make(name: str) -> Case:
        if name not in made:
            folder = tmp_path_factory.mktemp("case")
            source, report, settings = CASES[name](folder / "images")
            results = build_results(report, [source], settings=settings)
            case = Case(source, results, folder)
            case.sr_path.write_bytes(to_bytes(results.sr))
            if results.seg is not None:
                case.seg_path.write_bytes(to_bytes(results.seg))
            made[name] = case
        return made[name]

    return make


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, make_case: Callable[[str], Case]) -> Case:
    """Every case in turn."""
    return make_case(request.param)


@pytest.fixture
def axial(make_case: Callable[[str], Case]) -> Case:
    """Three lesions on an axial CT, and one that is gone."""
    return make_case("axial")
