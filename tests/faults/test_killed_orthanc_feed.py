"""The service that follows an Orthanc is killed while it reads: each instance is there, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import servers
from hospital import rows
from sqlalchemy import func, select
from whole_stack import BASELINE, FOLLOW_UP, Stack, written

from db.tables import InstanceRow, QuarantineRow

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.xdist_group("orthanc"),
    pytest.mark.long_fault,
]


def test_a_feed_killed_again_and_again_takes_each_instance_once(tmp_path):
    orthanc = servers.OrthancServer(tmp_path / "orthanc").start()
    files: list[Path] = [path for one in (BASELINE, FOLLOW_UP) for path in written(one, tmp_path)]
    orthanc.node("CT1").store(files)
    stack = Stack(tmp_path / "home", {"TUMORLINE_ORTHANC__URL": orthanc.url}).start()
    try:
        for count in (3, 11, 20):
            stack.wait_until(lambda count=count: stack.count(InstanceRow) >= count, f"{count} instances")
            stack.kill("orthanc")
        stack.wait_until(lambda: stack.count(InstanceRow) == len(files), "all instances")
        stack.wait_until_done(reports=2)
        with rows(stack.context) as session:
            uids = session.scalar(select(func.count(InstanceRow.sop_instance_uid.distinct())))
        assert uids == stack.count(InstanceRow) == len(files)
        assert stack.count(QuarantineRow) == 0
    finally:
        stack.stop()
        orthanc.stop()
