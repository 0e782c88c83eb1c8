"""Board packets for who waits for them: frozen, and their files made."""

from __future__ import annotations

import time
from datetime import date

from workflow.board import freeze_packets
from workflow.domain.board import Packet, PacketState
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.context import Context
from workflow.engine.reconciler import runner

_MOST_AT_ONCE = 1000  # due jobs of a stage that are looked at


def make_packets(context: Context, *, day: date, by: str, timeout_s: float = 600) -> tuple[Packet, ...]:
    """Freeze a packet of each patient on a day's list and one of the list, and wait for their files.

    Whoever is quicker makes them: a worker that runs, or this process.

    Returns
    -------
    tuple of Packet
        The list's first, then the patients' in the list's order, each with its files.

    Raises
    ------
    UnsuitableInputError
        If nobody is on the list, or a packet's files could not be made.
    TransientError
        If they are not there after `timeout_s`.
    """
    wanted = [packet.id for packet in freeze_packets(context, day=day, by=by)]
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        made = [packet for i in wanted if (packet := context.boards.packet(i)) is not None]
        if failed := [p for p in made if p.state is PacketState.FAILED]:
            raise UnsuitableInputError(f"packet {failed[0].id} could not be made: {failed[0].reason}")
        if all(packet.state is PacketState.READY for packet in made):
            return tuple(made)
        waiting = {str(p.id) for p in made if p.state is PacketState.WAITING}
        mine = [j for j in context.jobs.due({"board"}, limit=_MOST_AT_ONCE) if j.subject in waiting]
        done = [job.id for job in mine if runner(context).run(job.id)]
        if not done:
            time.sleep(0.2)
    raise TransientError(f"the packets of {day} are not there after {timeout_s:g} s; see `tumorline status`")
