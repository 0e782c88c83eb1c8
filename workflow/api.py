"""The verbs of the command line as functions.

    from pathlib import Path
    from workflow import api

    done = api.run([Path("baseline"), Path("follow-up")], Path("results"), api.load_settings())
    sizes = api.segment_image(Path("ct.nii.gz"), ["point:-52,31,118"], Path("lesion.nii.gz"))
    course = api.assess(timeline, api.Protocol())

Importing this module imports no heavy library.
"""

from workflow.bootstrap import build
from workflow.commands.segment import segment_image
from workflow.commands.track import track_images
from workflow.domain.response import Protocol, Timeline, assess
from workflow.listener import import_files
from workflow.overview import patient_course, system_status, worklist
from workflow.review import decide, sign
from workflow.run import run
from workflow.settings import Settings, load_settings

__all__ = [
    "Protocol",
    "Settings",
    "Timeline",
    "assess",
    "build",
    "decide",
    "import_files",
    "load_settings",
    "patient_course",
    "run",
    "segment_image",
    "sign",
    "system_status",
    "track_images",
    "worklist",
]
