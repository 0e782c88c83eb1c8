"""A short run of the fuzzer over reading and over the live listener; `make fuzz` is the long one."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from dicom_io.acceptor import Callers
from tests.fuzz.fuzzing import outside, read_all_ways
from tests.fuzz.mutations import mutated, seed_objects
from tests.unit.pipeline.test_hostile_callers import (
    CT,
    Site,
    is_closed,
    pdv,
    read_pdu,
    request,
    resident_mb,
    store_rq,
)

SEED = 11


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> tuple[list[bytes], list[Path]]:
    """Whole objects, and the slices that they speak of."""
    folder = tmp_path_factory.mktemp("seeds")
    return seed_objects(folder), sorted((folder / "seeds").glob("ct_*.dcm"))


def test_mutated_objects_are_read_or_refused_with_a_reason_and_write_nothing(objects, tmp_path):
    whole, slices = objects
    store = tmp_path / "store"
    store.mkdir()
    ended: Counter[str] = Counter()
    for number in range(30):  # the bombs come after these
        path = store / "object.dcm"
        path.write_bytes(mutated(whole, SEED, number))
        ended += read_all_ways(path, slices)
    assert outside(store, []) == []
    # Enough of both: changes that nothing notices, or that nothing survives, would test nothing.
    for way in ("header", "frames", "prompts"):
        assert ended[f"{way}: read"] > 10
    assert ended["header: refused"] > 10


def test_whole_objects_are_read_in_every_way_that_is_theirs(objects, tmp_path):
    whole, slices = objects
    for number, content in enumerate(whole):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(content)
        ended = read_all_ways(path, slices)
        assert ended["header: read"] == ended["keep: read"] == ended["references: read"] == 1


def _announced(data: bytes) -> str:
    """The SOP Instance UID that a data set of explicit VR has, so that not all are refused for another."""
    found = data.partition(b"\x08\0\x18\0UI")[2]
    uid = found[2 : 2 + int.from_bytes(found[:2], "little")].decode("latin-1").strip("\0 ")
    return uid if 0 < len(uid) <= 64 else "1.2.3.4"


def test_a_mutated_stream_leaves_the_listener_well_and_nothing_behind(objects, tmp_path):
    whole, _ = objects
    site = Site(tmp_path / "received", Callers(called_ae_title="TUMORLINE", calling_ae_titles=("CT1",)))
    before, answers = resident_mb(), Counter()
    try:
        for number in range(60):
            chance = random.Random(f"{SEED}/stream/{number}")
            content = mutated(whole, SEED, number) if number % 50 != 49 else whole[0]
            data = content[144 + int.from_bytes(content[140:144], "little") :] or b"x"
            stream = bytearray(request(CT))
            stream += pdv(store_rq(_announced(data)), 3)
            for at in range(0, len(data), 16000):
                stream += pdv(data[at : at + 16000], 0)
            stream += pdv(b"", 2)
            for _ in range(chance.choice((0, 0, 1, 8))):
                stream[chance.randrange(len(stream))] = chance.randrange(256)
            with site.call() as connection, contextlib.suppress(OSError):
                connection.sendall(stream)
                connection.shutdown(1)
                answers[read_pdu(connection)[0]] += 1
                while not is_closed(connection):
                    answers["more"] += 1
        site.echo()
    finally:
        site.server.shutdown()
    assert answers[2] > 20
    assert site.unfinished() == []
    assert outside(site.folder, []) == []
    assert resident_mb() - before < 64
