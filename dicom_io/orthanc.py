"""Orthanc's REST interface: what changed there, and the files.

The only module that imports orthanc-rest-client, which is GPL-3.0: lazily, and only if an Orthanc
URL is set (extra `orthanc`). That library keeps the server's address in class attributes, so that
a second client would redirect the first: one process follows one Orthanc.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError

# Without it Orthanc compresses every file on the way: 25 instead of 800 instances per second.
_PLAIN = {"Accept-Encoding": "identity"}
_CONNECT_S, _READ_S = 5.0, 60.0
_PAGE = 500


@dataclass(frozen=True, kw_only=True)
class ChangePage:
    """A stretch of Orthanc's change log: new instances (Orthanc's ids) up to sequence number `last`."""

    instance_ids: tuple[str, ...]
    last: int
    is_done: bool


class OrthancClient:
    """One Orthanc, over its REST interface.

    Raises
    ------
    ConfigurationError
        If the extra is not installed, or this process talks to another Orthanc already.
    """

    _server: str | None = None

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        try:
            from orthanc_rest_client import Orthanc
        except ImportError as error:
            raise ConfigurationError(
                "following an Orthanc needs the extra: pip install 'tumorline[orthanc]' (GPL-3.0)"
            ) from error
        if OrthancClient._server not in (None, url):
            raise ConfigurationError(f"this process talks to {OrthancClient._server} already; start another")
        OrthancClient._server = url
        self._url = url
        self._orthanc = Orthanc(url, auth=(username, password) if username else None, warn_insecure=False)

    def changes(self, since: int) -> ChangePage:
        """New instances after a sequence number.

        Raises
        ------
        TransientError
            If Orthanc is not there.
        """
        page = self._call(self._orthanc.get_changes, since=since, limit=_PAGE)
        new = [change["ID"] for change in page["Changes"] if change["ChangeType"] == "NewInstance"]
        return ChangePage(instance_ids=tuple(new), last=int(page["Last"]), is_done=bool(page["Done"]))

    def held_instances(self, since: int, limit: int) -> dict[str, str]:
        """A page of everything that Orthanc holds: SOP Instance UIDs by its own ids; empty after the last.

        Raises
        ------
        TransientError
            If Orthanc is not there.
        """
        page = self._call(self._orthanc.get_instances, expand=True, since=since, limit=limit)
        return {one["ID"]: str(one["MainDicomTags"].get("SOPInstanceUID", "")) for one in page}

    def instance_file(self, instance_id: str) -> bytes:
        """The bytes of an instance, as Orthanc holds them.

        Raises
        ------
        TransientError
            If Orthanc is not there.
        UnsuitableInputError
            If it has no such instance (any more).
        """
        content = self._call(self._orthanc.get_instance_file, instance_id)
        return content if isinstance(content, bytes) else b"".join(content)

    def _call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        import requests
        from apiron import Timeout

        timeout = Timeout(connection_timeout=_CONNECT_S, read_timeout=_READ_S)
        try:
            return function(*arguments, headers=_PLAIN, timeout_spec=timeout, **keywords)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 404:
                raise UnsuitableInputError(f"Orthanc at {self._url} has it no more: {error}") from error
            if status in (401, 403):
                raise ConfigurationError(
                    f"Orthanc at {self._url} refuses this user name or password"
                ) from error
            raise TransientError(f"Orthanc at {self._url} answers {status}") from error
        except requests.RequestException as error:
            raise TransientError(f"Orthanc at {self._url} is not there: {type(error).__name__}") from error
