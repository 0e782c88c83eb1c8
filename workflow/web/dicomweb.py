"""Our DICOMweb server under /dicom-web: anybody who is logged in may look, readers may store."""

from __future__ import annotations

from typing import Any

from workflow.bootstrap import dicomweb_routes
from workflow.domain.users import User, UserRole
from workflow.ports import StoreFailure, StoreOutcome
from workflow.use_cases.marks import Taken, TakenObject, take_in
from workflow.web.site import Site

PREFIX = "/dicom-web"

_FAILURES = {
    Taken.NOT_DICOM: StoreFailure.CANNOT_UNDERSTAND,
    Taken.NO_STUDY: StoreFailure.REFUSED,
    Taken.OTHER_PATIENT: StoreFailure.REFUSED,
    Taken.FAILED: StoreFailure.OUT_OF_RESOURCES,
}


def dicomweb(site: Site) -> Any:
    """The server's routes."""

    def store(content: bytes, user: User) -> StoreOutcome:
        (taken,) = take_in(site.context, [content], user, "STOW-RS").objects
        return _outcome(taken)

    return dicomweb_routes(
        site.context,
        prefix=PREFIX,
        reader=site.access.user,
        writer=site.access.needs(UserRole.READER),
        store=store,
    )


def _outcome(taken: TakenObject) -> StoreOutcome:
    return StoreOutcome(
        said=taken.said,
        failure=_FAILURES.get(taken.outcome),
        sop_class_uid=taken.sop_class_uid,
        sop_instance_uid=taken.sop_instance_uid,
        study_instance_uid=taken.study_instance_uid,
        series_instance_uid=taken.series_instance_uid,
    )
