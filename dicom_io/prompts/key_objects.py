"""Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010) as hints: images that a person marked."""

from __future__ import annotations

from dicom_io import codes
from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, UnsupportedItemError
from dicom_io.prompts.placement import ImageIndex, NotPlacedError
from dicom_io.prompts.reading import KeyImageHint
from dicom_io.prompts.sr_tree import Node, read_tree


def read_key_objects(attributes: Attributes, images: ImageIndex, collector: Collector) -> None:
    """Add a hint for each marked image that is a slice of a series at hand; say of every other why not."""
    with collector.item("object"):
        root = read_tree(attributes).root
        title = root.concept.meaning if root.concept is not None else ""
        description = " ".join(node.text_value for node in root.children_named(codes.KEY_OBJECT_DESCRIPTION))
        for node in root.descend():
            if node.value_type == "IMAGE":
                with collector.item(node.item):
                    _add_hints(node, title, description, images, collector)


def _add_hints(node: Node, title: str, description: str, images: ImageIndex, collector: Collector) -> None:
    reference = node.attributes.item("ReferencedSOPSequence")
    if reference is None:
        raise UnsupportedItemError("it refers to no image")
    uid = reference.text("ReferencedSOPInstanceUID")
    frames = reference.numbers("ReferencedFrameNumber") or (None,)
    for frame in frames:
        number = None if frame is None else int(frame)
        try:
            placed, index = images.slice_of(uid, number)
        except NotPlacedError as error:
            # A key image (a screenshot, a radiograph) is a hint: nothing that was measured is lost.
            raise UnsupportedItemError(str(error)) from error
        collector.hints.append(
            KeyImageHint(
                key_object_sop_instance_uid=collector.sop_instance_uid,
                sop_instance_uid=uid,
                frame_number=number,
                series_instance_uid=placed.series.series_instance_uid,
                slice_index=index,
                title=title,
                description=description,
            )
        )
