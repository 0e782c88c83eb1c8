"""OHIF on our origin: its files, its configuration, and links that open a visit or a lesion in it.

`tumorline viewer install` puts the files there; without them the links are None and pages show none.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from workflow.domain.record import PatientRecord, Visit
from workflow.settings import VIEWER_PATH, Settings
from workflow.web.dicomweb import PREFIX
from workflow.web.site import Key, Site

# OHIF draws its own styles while it runs, and decodes with WebAssembly in workers; nothing comes from
# another host but the images of a PACS that is named in the settings.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "object-src": "'self' blob:",
    "frame-src": "'self' blob:",
    "manifest-src": "'self'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
# Names of built files hold a digest of what is in them.
_NEVER_CHANGES = "private, max-age=31536000, immutable"
_NOT_INSTALLED = "the viewer is not installed; whoever runs Tumorline does that: `tumorline viewer install`"


def viewer_folder(settings: Settings) -> Path | None:
    """Where OHIF's files are, None if it is not installed."""
    folder = settings.viewer.folder or settings.home / "viewer"
    return folder if (folder / "index.html").is_file() else None


def viewer_link(
    settings: Settings, study_instance_uids: Sequence[str], *, first: str = "", side_by_side: bool = False
) -> str | None:
    """The address that opens studies in OHIF, None if it is not installed.

    Parameters
    ----------
    first
        SOP Instance UID of what is shown first: an image (its slice), or an SR (its measurements are loaded).
    side_by_side
        The first two studies beside each other.
    """
    if viewer_folder(settings) is None:
        return None
    asked = {"StudyInstanceUIDs": ",".join(study_instance_uids)}
    if first:
        asked["initialSOPInstanceUID"] = first
    if side_by_side:
        asked["hangingprotocolId"] = "@ohif/hpCompare"
    return f"{VIEWER_PATH}/viewer?{urlencode(asked, safe=',@/')}"


def open_link(
    settings: Settings, visit: int | None = None, *, lesion: str = "", prior: bool = False, study: str = ""
) -> str | None:
    """The link of a page that opens a visit (its key), a lesion at it, it beside its prior, or one study.

    Templates have it without the settings: `open_link(point.key, lesion=row.tracking_uid)`. None if the
    viewer is not installed.
    """
    if viewer_folder(settings) is None:
        return None
    if study:
        return f"/open/studies/{study}"
    below = f"/lesions/{lesion}" if lesion else "/with-prior" if prior else ""
    return f"/open/visits/{visit}{below}"


def viewer_routes(site: Site) -> APIRouter:
    """OHIF's files, and the addresses that pages link to; templates are given `open_link`."""
    site.templates.env.globals["open_link"] = partial(open_link, site.settings)
    routes, settings = APIRouter(dependencies=[Depends(site.access.user)]), site.settings
    records = site.context.records

    @routes.get("/open/visits/{key}", include_in_schema=False)
    def open_visit(key: Key) -> Response:
        _, visit = _visit(key)
        return _go(viewer_link(settings, visit.studies, first=_sr_of(visit)))

    @routes.get("/open/studies/{study_instance_uid}", include_in_schema=False)
    def open_study(study_instance_uid: str) -> Response:
        if not site.context.holdings.instances(study_instance_uid):
            raise HTTPException(404, "there is no such study")
        return _go(viewer_link(settings, [study_instance_uid]))

    @routes.get("/open/visits/{key}/with-prior", include_in_schema=False)
    def open_with_prior(key: Key) -> Response:
        record, visit = _visit(key)
        if visit.prior is None:
            raise HTTPException(404, "this visit has no prior to stand beside it")
        studies = (record.visit(visit.prior).studies[0], visit.studies[0])
        return _go(viewer_link(settings, studies, side_by_side=True))

    @routes.get("/open/visits/{key}/lesions/{tracking_uid}", include_in_schema=False)
    def open_lesion(key: Key, tracking_uid: str) -> Response:
        record, visit = _visit(key)
        return _go(viewer_link(settings, visit.studies, first=_image_of(record, visit, tracking_uid)))

    def _visit(key: int) -> tuple[PatientRecord, Visit]:
        found = records.patient_of_visit(key)
        if found is None:
            raise HTTPException(404, "there is no such visit")
        record = records.load(found[0])
        visit = next((v for v in record.standing if v.anchor == found[1]), None)
        if visit is None:
            raise HTTPException(404, "there is no such visit")
        return record, visit

    @routes.get(f"{VIEWER_PATH}/app-config.js", include_in_schema=False)
    def configuration() -> Response:
        return _secured(Response(app_config(settings), media_type="text/javascript"), settings)

    @routes.get(VIEWER_PATH, include_in_schema=False)
    def study_list() -> Response:
        return RedirectResponse(f"{VIEWER_PATH}/")

    @routes.get(VIEWER_PATH + "/{path:path}", include_in_schema=False)
    def file(path: str) -> Response:
        folder = viewer_folder(settings)
        if folder is None:
            raise HTTPException(404, _NOT_INSTALLED)
        wanted = (folder / path).resolve()
        if not wanted.is_relative_to(folder.resolve()) or not wanted.is_file():
            if "." in path.rpartition("/")[2]:  # a file that is not there, and no address of the application
                raise HTTPException(404, "there is no such file")
            return _secured(HTMLResponse((folder / "index.html").read_text(encoding="utf-8")), settings)
        kind = mimetypes.guess_type(wanted.name)[0] or "application/octet-stream"
        answer = FileResponse(wanted, media_type="application/wasm" if wanted.suffix == ".wasm" else kind)
        if wanted.suffix in (".js", ".wasm", ".woff2") and wanted.name not in ("start.js",):
            answer.headers["Cache-Control"] = _NEVER_CHANGES
        return _secured(answer, settings)

    return routes


def _go(address: str | None) -> Response:
    if address is None:
        raise HTTPException(404, _NOT_INSTALLED)
    return RedirectResponse(address, 303)


def _sr_of(visit: Visit) -> str:
    """The SR of a visit's report, in its first study."""
    made = visit.report.objects if visit.report else ()
    return next((one.sop_instance_uid for one in made if one.role == "sr"), "")


def _image_of(record: PatientRecord, visit: Visit, tracking_uid: str) -> str:
    """The image that a lesion's axes lie on, or the one of its middle."""
    seen = next((o for o in visit.observations if o.tracking_uid == tracking_uid), None)
    stack = record.stacks_of(visit).get(seen.measured_on) if seen and seen.measured_on else None
    if seen is None or stack is None:
        raise HTTPException(404, "the lesion is on no image of this visit")
    if seen.measurement is not None:
        index = seen.measurement.slice_index
    elif seen.mask is not None:
        index = round(float(seen.mask.centroid_ijk()[0]))
    else:
        index = 0
    uids = stack.sop_instance_uids
    return uids[min(index, len(uids) - 1)]


def _secured(response: Response, settings: Settings) -> Response:
    policy = dict(_POLICY)
    if settings.viewer.dicomweb_url:
        for name in ("connect-src", "img-src", "object-src", "frame-src"):
            policy[name] += f" {_origin(settings.viewer.dicomweb_url)}"
    response.headers["Content-Security-Policy"] = "; ".join(f"{k} {v}" for k, v in policy.items())
    # Workers share memory, which browsers allow to isolated pages only.
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    return response


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def app_config(settings: Settings) -> str:
    """OHIF's app-config.js: one data source, and no question that a reader would always answer alike."""
    root = settings.viewer.dicomweb_url.rstrip("/") or PREFIX
    source: dict[str, Any] = {
        "friendlyName": "PACS" if settings.viewer.dicomweb_url else "Tumorline",
        "name": "tumorline",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": root,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "enableStudyLazyLoad": True,
        "omitQuotationForMultipartRequest": True,
        "singlepart": "bulkdata,pdf",
        "dicomUploadEnabled": False,
        "bulkDataURI": {"enabled": True},
    }
    config = {
        "routerBasename": VIEWER_PATH,
        "extensions": [],
        "modes": [],
        # No tour: who reads here every day would click it away every day.
        "customizationService": [{"ohif.tours": {"$set": []}}],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        # What our pages say stands in their footer; OHIF's own banner would hide the image.
        "investigationalUseDialog": {"option": "never"},
        "disableConfirmationPrompts": True,
        "measurementTrackingMode": "simplified",
        "defaultDataSourceName": "tumorline",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "tumorline",
                "configuration": source,
            }
        ],
    }
    return f"window.config = {json.dumps(config)};\n"
