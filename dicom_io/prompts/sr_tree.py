"""The content tree of an SR document, walked safely: no depth, size or loop of it can hurt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.parsing import Attributes
from dicom_io.prompts.origin import code_of, is_one_of
from workflow.domain.errors import UnsuitableInputError

MAX_DEPTH = 64
MAX_ITEMS = 100_000


@dataclass(eq=False)
class Node:
    """One content item.

    Attributes
    ----------
    path
        Position from the root, counted from 1 as ReferencedContentItemIdentifier has it (PS3.3 C.18.9).
    """

    attributes: Attributes
    path: tuple[int, ...]
    parent: Node | None
    children: list[Node] = field(default_factory=list)

    @cached_property
    def value_type(self) -> str:
        """CONTAINER, NUM, SCOORD ...; "" of an item that refers to another by identifier."""
        return self.attributes.text("ValueType").upper()

    @cached_property
    def concept(self) -> Code | None:
        """The concept name, if it has one."""
        return code_of(self.attributes, "ConceptNameCodeSequence")

    @property
    def code_value(self) -> Code | None:
        """The value of a CODE item."""
        return code_of(self.attributes, "ConceptCodeSequence")

    @property
    def text_value(self) -> str:
        """The value of a TEXT, PNAME or UIDREF item."""
        keywords = ("TextValue", "PersonName", "UID")
        return next(filter(None, (self.attributes.text(keyword) for keyword in keywords)), "")

    @property
    def is_reference(self) -> bool:
        """Whether the item only names another by its identifier."""
        return self.attributes.has("ReferencedContentItemIdentifier")

    @cached_property
    def is_group(self) -> bool:
        """A measurement group: by its concept, or because it has a tracking identity.

        Older templates give one to other containers, dwv 0.34 to the coordinates themselves.
        """
        if self.value_type not in ("CONTAINER", "SCOORD"):
            return False
        if is_one_of(self.concept, codes.MEASUREMENT_GROUP):
            return True
        tracked = (codes.TRACKING_IDENTIFIER, codes.TRACKING_UNIQUE_IDENTIFIER)
        return any(self.children_named(concept) for concept in tracked)

    @cached_property
    def holds_reformatted_plane(self) -> bool:
        """Whether a child says that what is drawn here lies on another plane than the image's (dwv)."""
        return bool(self.children_named(codes.REFERENCE_GEOMETRY))

    @property
    def item(self) -> str:
        """How a problem names it: dsrdump and viewers count the same way."""
        return "item " + ".".join(map(str, self.path))

    def descend(self) -> Iterator[Node]:
        """This item and all below it, in document order."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def ancestors(self) -> Iterator[Node]:
        """The items above, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def children_named(self, concept: Code) -> list[Node]:
        """The direct children with a concept name."""
        return self._children_by_concept.get((concept.scheme_designator, concept.value), [])

    @cached_property
    def _children_by_concept(self) -> dict[tuple[str, str], list[Node]]:
        found: dict[tuple[str, str], list[Node]] = {}
        for child in self.children:
            if child.concept is not None:
                key = child.concept.scheme_designator, child.concept.value
                found.setdefault(key, []).append(child)
        return found


@dataclass(eq=False)
class Tree:
    """An SR's content with its items findable by identifier."""

    root: Node
    nodes: dict[tuple[int, ...], Node]

    def find(self, node: Node) -> Node | None:
        """The item itself, or the one that it refers to by identifier (PS3.3 C.17.3.2.5), or None.

        An item that is itself a reference is none: references can't be chained into a loop.
        """
        if not node.is_reference:
            return node
        numbers = node.attributes.numbers("ReferencedContentItemIdentifier") or ()
        target = self.nodes.get(tuple(int(number) for number in numbers))
        return None if target is None or target.is_reference else target

    def resolve(self, node: Node) -> Node:
        """As `find`.

        Raises
        ------
        UnsuitableInputError
            If the identifier names no item.
        """
        target = self.find(node)
        if target is None:
            named = ".".join(node.attributes.values("ReferencedContentItemIdentifier"))
            raise UnsuitableInputError(f"{node.item} refers to item {named}, which is not in the document")
        return target


def read_tree(attributes: Attributes) -> Tree:
    """Walk the content tree.

    Raises
    ------
    UnsuitableInputError
        If it is deeper than `MAX_DEPTH`, larger than `MAX_ITEMS`, or empty.
    """
    root = Node(attributes=attributes, path=(1,), parent=None)
    nodes = {root.path: root}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for number, item in enumerate(node.attributes.items("ContentSequence"), start=1):
            child = Node(attributes=item, path=(*node.path, number), parent=node)
            if len(child.path) > MAX_DEPTH:
                raise UnsuitableInputError(f"its content tree is deeper than {MAX_DEPTH} levels, or a loop")
            if len(nodes) >= MAX_ITEMS:
                raise UnsuitableInputError(f"its content tree has more than {MAX_ITEMS} items")
            node.children.append(child)
            nodes[child.path] = child
            waiting.append(child)
    if not root.children:
        raise UnsuitableInputError("its content tree is empty")
    return Tree(root=root, nodes=nodes)
