"""A throw-away PACS and viewer on loopback: Orthanc with DICOMweb, and OHIF's files, under one origin."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_DICOM_WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_PROXIED = ("/dicom-web", "/wado")
_OHIF = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "pacs",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "pacs",
            "configuration": {
                "friendlyName": "PACS",
                "name": "pacs",
                "wadoUriRoot": "/wado",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
            },
        }
    ],
}


def can_run() -> str:
    """Why there can be no PACS here; "" if there can."""
    from shutil import which

    if which("Orthanc") is None:
        return "Orthanc is not installed: Debian's orthanc and orthanc-dicomweb"
    return "" if _DICOM_WEB_PLUGIN.exists() else "Orthanc has no DICOMweb: Debian's orthanc-dicomweb"


@contextmanager
def viewer(dist: Path, folder: Path, files: Sequence[Path]) -> Iterator[str]:
    """Start both, store the files, give the viewer's address, and stop both.

    Parameters
    ----------
    dist
        OHIF's built files (`dist` of the npm package @ohif/app).
    folder
        Where Orthanc keeps what it has.
    """
    orthanc = _free_port()
    configuration = folder / "orthanc.json"
    said = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": orthanc,
        "DicomPort": _free_port(), "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "HttpCompressionEnabled": False, "Plugins": [str(_DICOM_WEB_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
    }  # fmt: skip
    configuration.write_text(json.dumps(said))
    with (folder / "orthanc.log").open("w") as log:
        # Without it each small answer waits for the acknowledgement of the last one.
        environment = {**os.environ, "TCP_NODELAY": "1"}
        pacs = subprocess.Popen(["Orthanc", configuration], stdout=log, stderr=log, env=environment)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(dist, orthanc))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        _wait(orthanc)
        for path in files:
            status, answer = _ask(orthanc, "POST", "/instances", path.read_bytes())
            assert status == 200, f"Orthanc refused {path.name}: {answer[:200]!r}"
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        pacs.terminate()
        pacs.wait(timeout=30)


def _handler(dist: Path, orthanc: int) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        """OHIF's files; what it asks of the PACS is passed on."""

        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(dist))

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def end_headers(self) -> None:
            # OHIF's workers share memory, which browsers allow to isolated pages only.
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_GET(self) -> None:
            """A file, the PACS, or the application for any address of its own."""
            path = self.path.split("?")[0]
            if path.startswith(_PROXIED):
                self._pass_on("GET", None)
            elif path == "/app-config.js":
                self._answer(200, "text/javascript", f"window.config = {json.dumps(_OHIF)};".encode())
            else:
                if not (dist / path.lstrip("/")).is_file():
                    self.path = "/index.html"
                super().do_GET()

        def do_POST(self) -> None:
            """Queries with a body."""
            self._pass_on("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _pass_on(self, method: str, body: bytes | None) -> None:
            kept = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "content-type", "host")}
            connection = http.client.HTTPConnection("127.0.0.1", orthanc, timeout=120)
            connection.request(method, self.path, body, kept)
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheader("Content-Type") or "", answer.read())
            connection.close()

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            if _ask(port, "GET", "/system")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("Orthanc did not start within a minute")


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port
