"""Prompts out of structured reports: TID 1500 and older measurement reports that carry image coordinates.

One lesion is one measurement group (TID 1501, 1410, 1411 and what older tools wrote as one); groups with
the same tracking UID are one lesion. Outside groups each measurement with coordinates is a lesion of its
own, and a long and a short axis that cross on one image are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, UnreadItemError, UnsupportedItemError
from dicom_io.prompts.graphics import Drawing, pair_axes, shapes_of
from dicom_io.prompts.origin import Origin, Site, kind_of_lesion, origin_of, site_from
from dicom_io.prompts.placement import Home, ImageIndex
from dicom_io.prompts.plausibility import (
    area_contradiction,
    length_contradiction,
    polygon_area_mm2,
    volume_contradiction,
    volume_mm3,
)
from dicom_io.prompts.reading import ProblemKind
from dicom_io.prompts.rules import LesionChoice, LesionRules
from dicom_io.prompts.seg import PlacedSegment
from dicom_io.prompts.sr_drawings import DrawingReader, is_aside
from dicom_io.prompts.sr_numbers import Numeric, numeric_of
from dicom_io.prompts.sr_segments import (
    SegmentReader,
    frames_of,
    is_segment_reference,
    segment_of,
    segments_wanted,
)
from dicom_io.prompts.sr_tree import Node, Tree, read_tree
from workflow.domain.lesion import LesionPrompt, MaskPrompt, PromptShape, PromptSource
from workflow.domain.structures import structure_named

# OHIF, Slim and dcmjs name the drawing tool in the tracking identifier: "Cornerstone3DTools@^0.1.0:Length".
_TOOL_TAG = re.compile(r"cornerstone\w*@[^:]*:(?P<tool>\w+)(?::(?P<label>.*))?$", re.IGNORECASE)
_COORDINATES = frozenset({"SCOORD", "SCOORD3D"})
# What viewers write as the observer where they don't know who sits before them (dcmjs).
_NOBODY = frozenset({"unknown^unknown", "unknown", "anonymous"})


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedDrawing:
    """A drawing on the stack that it was drawn on."""

    drawing: Drawing
    home: Home


@dataclass(eq=False)
class Lesion:
    """What the report says of one lesion, gathered over its groups."""

    nodes: list[Node]
    tracking_uid: str | None = None
    drawings: list[PlacedDrawing] = field(default_factory=list)
    segments: list[PlacedSegment] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How a doubt calls it: its place in the document and its label."""
        return f"{self.nodes[0].item} {_label(self.nodes)}".strip()

    @property
    def homes(self) -> list[Home]:
        """Where its parts were drawn, the masks' first: a line beside one says less."""
        return [segment.home for segment in self.segments] + [drawing.home for drawing in self.drawings]

    @property
    def loose_line(self) -> Drawing | None:
        """The only drawing, where it is a line outside all groups."""
        drawings = [placed.drawing for placed in self.drawings]
        is_one = not self.nodes[0].is_group and [drawing.kind for drawing in drawings] == ["line"]
        return drawings[0] if is_one else None


def read_sr(
    attributes: Attributes,
    images: ImageIndex,
    rules: LesionRules,
    collector: Collector,
    related: Sequence[Attributes] = (),
) -> None:
    """Add each lesion that the report measures as a prompt; say of every other measurement why not."""
    with collector.item("object"):
        tree = read_tree(attributes)
        reader = _Reader(
            tree=tree,
            drawings=DrawingReader(tree=tree, images=images),
            segments=SegmentReader(
                images=images,
                fraction=rules.fraction,
                related=related,
                wanted=segments_wanted(tree.root),
                collector=collector,
            ),
            rules=rules,
            collector=collector,
            origin=_origin(attributes, tree),
        )
        reader.read()


@dataclass(kw_only=True)
class _Reader:
    tree: Tree
    drawings: DrawingReader
    segments: SegmentReader
    rules: LesionRules
    collector: Collector
    origin: Origin

    def read(self) -> None:
        """Group what is drawn by lesion, then make each lesion a prompt."""
        lesions = self._lesions()
        for lesion in lesions:
            first = lesion.nodes[0]
            with self.collector.item(first.item):
                if self._is_lesion(lesion):
                    self._gather(lesion)
        for lesion in self._with_loose_lines_paired(lesions):
            with self.collector.item(lesion.nodes[0].item):
                self._add(lesion)

    def _lesions(self) -> list[Lesion]:
        """The lesions in document order, groups of one tracking UID merged."""
        by_identity: dict[str, Lesion] = {}
        referenced, listed = self._referenced(), set[int]()
        for node in self.tree.root.descend():
            owner = self._owner(node)
            if owner is None or (node.path in referenced and not owner.is_group):
                continue
            uid = _text(owner, codes.TRACKING_UNIQUE_IDENTIFIER) if owner.is_group else ""
            lesion = by_identity.setdefault(uid or owner.item, Lesion(nodes=[], tracking_uid=uid or None))
            if id(owner) not in listed:
                listed.add(id(owner))
                lesion.nodes.append(owner)
        return list(by_identity.values())

    def _is_lesion(self, lesion: Lesion) -> bool:
        """Whether the finding is one; a measurement without a finding is taken: somebody measured it."""
        category, finding = (
            next(filter(None, (_code(node, concept) for node in lesion.nodes)), None)
            for concept in (codes.FINDING_CATEGORY, codes.FINDING)
        )
        if finding is not None and finding.value == codes.OHIF_FREE_TEXT:
            finding = None  # what was typed is the label
        choice = self.rules.choose_measured(_label(lesion.nodes), category, finding)
        if choice.is_lesion and finding is None:
            choice = self._of_vessel(lesion) or choice
        item = lesion.nodes[0].item
        if not choice.is_lesion:
            kind = ProblemKind.DOUBTFUL_LESION if choice.doubt else ProblemKind.NOT_A_LESION
            self.collector.problem(item, kind, choice.reason)
        elif choice.doubt:
            self.collector.doubt(f"{lesion.name}: {choice.doubt}")
        return choice.is_lesion

    def _of_vessel(self, lesion: Lesion) -> LesionChoice | None:
        """Against a measurement whose site or concept is a vessel or the like, whatever its label."""
        sites = [
            place.code_value for node in lesion.nodes for place in node.children_named(codes.FINDING_SITE)
        ]
        concepts = [
            child.concept for node in lesion.nodes for child in node.children if child.value_type == "NUM"
        ]
        for said in (*sites, *concepts):
            structure = structure_named(said.meaning) if said is not None else None
            if said is None or structure is None or structure.is_organ:
                continue
            choice = self.rules.choose_measured(" ".join([said.meaning, _label(lesion.nodes)]))
            if not choice.is_lesion:
                return choice
        return None

    def _gather(self, lesion: Lesion) -> None:
        """Read every coordinate and segment of the lesion; each that fails is a problem of its own."""
        is_shown = False
        for group in lesion.nodes:
            tool = _tool(group)
            for node in group.descend():
                if self._is_drawing(node) and self._owner(node) is group:
                    is_shown = True
                    with self.collector.item(node.item):
                        self._gather_drawing(lesion, node, tool)
        if not is_shown:
            self._say_that_nothing_is_shown(lesion)

    def _say_that_nothing_is_shown(self, lesion: Lesion) -> None:
        words = "it has no coordinates and refers to no segment, so it shows no place"
        if any(numeric.length_mm is not None for node in lesion.nodes for numeric in _numbers(node)):
            raise UnreadItemError(words)
        raise UnsupportedItemError(words)

    def _gather_drawing(self, lesion: Lesion, node: Node, tool: str) -> None:
        if is_segment_reference(node):
            lesion.segments.append(self.segments.read(node))
            if frames_of(node) is None:
                uid, number = segment_of(node)
                self.collector.used_segments.add((uid, f"segment {number}"))
            return
        target = self.tree.resolve(node)
        drawings, home = self.drawings.read(target, measured_by=node.parent, tool=tool)
        if _lies_outside(self._owner(node)):
            drawings = [replace(one, is_positive=False) for one in drawings if one.kind == "point"]
        lesion.drawings += [PlacedDrawing(drawing=drawing, home=home) for drawing in drawings]
        measured = numeric_of(node.parent) if node.parent is not None else None
        if measured is not None and len(drawings) == 1:
            self._compare(lesion, node, measured, drawings[0])

    def _compare(self, lesion: Lesion, node: Node, measured: Numeric, drawing: Drawing) -> None:
        """Say so where a number is not that of its own coordinates."""
        contradiction = ""
        if drawing.kind == "line" and measured.length_mm is not None:
            contradiction = length_contradiction(
                measured.length_mm, drawing.length_mm, rounding_mm=measured.rounding_mm
            )
        elif drawing.kind == "outline" and measured.area_mm2 is not None:
            contradiction = area_contradiction(measured.area_mm2, polygon_area_mm2(drawing.points_lps))
        if contradiction:
            self.collector.doubt(f"{lesion.name}, {node.item}: {contradiction}")

    def _is_drawing(self, node: Node) -> bool:
        """Coordinates, a segment, or a reference to coordinates elsewhere in the document."""
        if node.is_reference:
            target = self.tree.find(node)
            return target is None or target.value_type in _COORDINATES
        if node.value_type in _COORDINATES:
            return not is_aside(node)
        return is_segment_reference(node)

    def _referenced(self) -> set[tuple[int, ...]]:
        """Items that others refer to: coordinates among them are drawings of those others."""
        targets = (self.tree.find(node) for node in self.tree.root.descend() if node.is_reference)
        return {target.path for target in targets if target is not None}

    def _owner(self, node: Node) -> Node | None:
        """What a drawing belongs to: its group, else the topmost item below the container it is in.

        A group without any drawing still owns itself, so that it can say so.
        """
        if node.is_group:
            return node
        if not self._is_drawing(node):
            return None
        topmost = node
        for ancestor in node.ancestors():
            if ancestor.is_group:
                return ancestor
            if ancestor.value_type == "CONTAINER":
                break
            topmost = ancestor
        return topmost

    def _with_loose_lines_paired(self, lesions: list[Lesion]) -> list[Lesion]:
        """Lesions outside groups whose only lines cross: the short axis joins the long one's lesion."""
        lines = {id(line): lesion for lesion in lesions if (line := lesion.loose_line) is not None}
        for long, short in pair_axes([lesion.drawings[0].drawing for lesion in lines.values()]):
            if short is not None:
                lines[id(long)].drawings += lines[id(short)].drawings
                lines[id(long)].nodes += lines[id(short)].nodes
                lines[id(short)].drawings.clear()
        return [lesion for lesion in lesions if lesion.homes]

    def _add(self, lesion: Lesion) -> None:
        """Add the lesion on one stack: a prompt has one, and what lies on others is said."""
        home, *others = lesion.homes
        key = home.images.series.key
        drawings = [d.drawing for d in lesion.drawings if d.home.images.series.key == key]
        masks = [s.mask for s in lesion.segments if s.home.images.series.key == key]
        elsewhere = {
            other.images.series.key: other.images.series.name
            for other in others
            if other.images.series.key != key
        }
        # A mask on one stack and the axes on another show one lesion; two drawings are two measurements.
        if elsewhere and (drawings or len(masks) > 1 or len(elsewhere) > 1):
            self.collector.doubt(
                f"{lesion.name}: it was measured on {home.images.series.name} and on "
                f"{', '.join(elsewhere.values())}; the first is taken"
            )
        shapes = (*shapes_of(drawings), *masks)
        self.collector.place(self._prompt(lesion, shapes), home)
        self._compare_whole(lesion, drawings, masks)

    def _compare_whole(self, lesion: Lesion, drawings: list[Drawing], masks: list[MaskPrompt]) -> None:
        """Numbers of the group that name no coordinates of their own, against what the group shows."""
        stated = [numeric for node in lesion.nodes for numeric in _numbers(node)]
        lines = [drawing for drawing in drawings if drawing.kind == "line"]
        for numeric in stated:
            contradiction = ""
            if numeric.volume_mm3 is not None and len(masks) == 1:
                contradiction = volume_contradiction(numeric.volume_mm3, volume_mm3(masks[0]))
            elif numeric.length_mm is not None and numeric.is_axis and len(lines) == len(drawings) == 1:
                contradiction = length_contradiction(
                    numeric.length_mm, lines[0].length_mm, rounding_mm=numeric.rounding_mm
                )
            if contradiction:
                self.collector.doubt(f"{lesion.name}: {contradiction}")

    def _prompt(self, lesion: Lesion, shapes: tuple[PromptShape, ...]) -> LesionPrompt:
        label = _label(lesion.nodes)
        site = _site(lesion.nodes, label)
        identifier = next(filter(None, (_tracking_id(node) for node in lesion.nodes)), None)
        group = lesion.nodes[0]
        observed = next(
            filter(None, (n.attributes.datetime("ObservationDateTime") for n in lesion.nodes)), None
        )
        kinds = (kind_of_lesion(_code(node, codes.FINDING)) for node in lesion.nodes)
        finding, finding_meaning = next((kind for kind in kinds if kind[0]), (None, None))
        return LesionPrompt(
            shapes=shapes,
            source=PromptSource.MEASUREMENT_REPORT,
            label=label,
            tracking_uid=lesion.tracking_uid,
            tracking_id=identifier,
            finding_site=site.finding_site,
            finding_site_meaning=site.finding_site_meaning,
            laterality=site.laterality,
            finding=finding,
            finding_meaning=finding_meaning,
            organ=site.organ,
            is_nodal=site.is_nodal,
            created_by=_observer(group) or self.origin.created_by,
            created_at=observed or self.origin.created_at,
            sop_instance_uid=self.origin.sop_instance_uid or None,
            item=group.item,
        )


# ---------------------------------------------------------------- reading a group


def _numbers(group: Node) -> list[Numeric]:
    """The group's numbers without coordinates of their own."""
    found = [
        numeric_of(child)
        for child in group.children
        if child.value_type == "NUM"
        and not any(c.value_type in _COORDINATES or c.is_reference for c in child.children)
    ]
    return [numeric for numeric in found if numeric is not None]


def _code(node: Node, concept: Code) -> Code | None:
    found = node.children_named(concept)
    return found[0].code_value if found else None


def _text(node: Node, concept: Code) -> str:
    found = node.children_named(concept)
    return found[0].text_value if found else ""


def _tool(group: Node) -> str:
    """The viewer's drawing tool, lower case, "" if the identifier names none."""
    found = _TOOL_TAG.match(_text(group, codes.TRACKING_IDENTIFIER))
    return found["tool"].lower() if found else ""


def _lies_outside(group: Node | None) -> bool:
    """Whether a mark of ours says what is not part of the lesion."""
    said = None if group is None else _code(group, codes.MARK_LIES)
    return said is not None and said == codes.OUTSIDE_LESION


def _tracking_id(group: Node) -> str | None:
    """The tracking identifier without a tool's tag; None where it was nothing but the tag."""
    identifier = _text(group, codes.TRACKING_IDENTIFIER)
    found = _TOOL_TAG.match(identifier)
    if found and found["tool"].lower() == "keyimage":
        return None
    return ((found["label"] or "") if found else identifier).strip() or None


def _label(nodes: Sequence[Node]) -> str:
    """What people call the lesion: comment, typed finding, short label, identifier, finding, measurement."""
    for node in nodes:
        finding = _code(node, codes.FINDING)
        free_text = finding.meaning if finding and finding.value == codes.OHIF_FREE_TEXT else ""
        short = _text(node, codes.SHORT_LABEL)
        # dwv writes templates such as "{length}" for what it fills in itself.
        label = _text(node, codes.COMMENT) or free_text or ("" if "{" in short else short)
        if label or (label := _tracking_id(node) or ""):
            return label
    findings = [_code(node, codes.FINDING) for node in nodes]
    named = [*findings, *(node.concept for node in nodes if node.value_type != "CONTAINER")]
    return next((str(code.meaning) for code in named if code is not None), "")


def _site(nodes: Sequence[Node], label: str) -> Site:
    for node in nodes:
        for place in node.children_named(codes.FINDING_SITE):
            side = _code(place, codes.LATERALITY) or _code(node, codes.LATERALITY)
            words = side.meaning.casefold() if side else ""
            laterality = words if words in ("left", "right", "bilateral") else None
            return site_from(place.code_value, label, laterality)
    findings = [finding.meaning for node in nodes if (finding := _code(node, codes.FINDING))]
    return site_from(None, " ".join([label, *findings]))


# ---------------------------------------------------------------- who and when


def _observer(node: Node) -> str | None:
    """The observer said for a group, or for what holds it (PS3.16 TID 1001): a person before a device."""
    for place in (node, *node.ancestors()):
        for concept in (codes.PERSON_OBSERVER_NAME, codes.DEVICE_OBSERVER_NAME):
            name = _text(place, concept)
            if name and name.casefold() not in _NOBODY:
                return name
    return None


def _origin(attributes: Attributes, tree: Tree) -> Origin:
    origin = origin_of(attributes, (), (("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime")))
    return Origin(
        sop_instance_uid=origin.sop_instance_uid,
        created_by=_observer(tree.root) or _verifier(attributes) or origin.created_by,
        created_at=origin.created_at,
    )


def _verifier(attributes: Attributes) -> str | None:
    verifier = attributes.item("VerifyingObserverSequence")
    return (verifier.text("VerifyingObserverName") or None) if verifier else None
