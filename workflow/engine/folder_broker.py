"""The embedded broker: a folder of messages, as kombu's, but whole messages only, and garbage stops nobody.

kombu's own writes messages where others read them, and a worker that reads half a message, or what somebody
left there, dies of it.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem

log = logging.getLogger(__name__)

# What kombu.transport.virtual makes a message of.
_PARTS = {"body", "content-type", "content-encoding", "headers", "properties"}


class Channel(filesystem.Channel):  # type: ignore[misc]
    """A channel whose messages appear, and are taken, by renaming."""

    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}"
        unfinished = folder / f"{name}.unfinished"
        unfinished.write_text(json.dumps(payload), encoding="utf-8")
        unfinished.rename(folder / f"{name}.{queue}.msg")

    def _get(self, queue: str) -> dict[str, Any]:
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            path = Path(self.data_folder_in) / name
            mine = path.with_name(f"{name}.{uuid.uuid4().hex}.taken")
            try:
                path.rename(mine)
                content = mine.read_bytes()
                mine.unlink()
            except OSError:  # another worker was quicker
                continue
            if (message := _message_of(content)) is not None:
                return message
            log.warning("%s is no message and is thrown away", path.name)
        raise Empty


def _message_of(content: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(content)
    except ValueError:
        return None
    is_whole = (
        isinstance(message, dict)
        and message.keys() >= _PARTS
        and isinstance(message["properties"], dict)
        and {"delivery_tag", "delivery_info"} <= message["properties"].keys()
    )
    return message if is_whole else None


class Transport(filesystem.Transport):  # type: ignore[misc]
    """kombu's transport with our channel."""

    Channel = Channel
