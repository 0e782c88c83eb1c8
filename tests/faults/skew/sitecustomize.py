"""A process whose clock is wrong: on PYTHONPATH, it shifts what `datetime.now` says by SKEW_HOURS."""

from __future__ import annotations

import datetime
import os

_real = datetime.datetime


class Skewed(_real):
    """The time on a wrong clock."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _real.now(tz) + datetime.timedelta(hours=float(os.environ["SKEW_HOURS"]))


datetime.datetime = Skewed
