"""A tagged PDF (ISO 32000-1, 14.8): what is a heading, a paragraph or a figure, in the order of reading.

reportlab draws pages without structure; this canvas marks what tagged flowables draw and writes the tree.
Everything that they don't draw (rules, backgrounds, the page's foot) is outside the structure.
"""

from __future__ import annotations

from typing import Any

from dicom_io.results.fonts import REGULAR


def canvas_class() -> type:
    """The class of canvas that a document is built with."""
    from reportlab.pdfbase.pdfdoc import (
        PDFArray,
        PDFDictionary,
        PDFName,
        PDFString,
    )
    from reportlab.pdfgen.canvas import Canvas

    class TaggedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
        """Numbers marked content per page and writes the structure tree when the document is saved."""

        def __init__(self, *args: Any, **said: Any) -> None:
            super().__init__(*args, **(said | {"initialFontName": REGULAR}))
            self._marked: list[list[tuple[str, str]]] = [[]]

        def begin_tag(self, tag: str, alternative: str) -> None:
            """Start marked content of the current page."""
            self._code.append(f"/{tag} <</MCID {len(self._marked[-1])}>> BDC")
            self._marked[-1].append((tag, alternative))

        def end_tag(self) -> None:
            """End it."""
            self._code.append("EMC")

        def showPage(self) -> None:  # noqa: N802
            """Close the page; it knows its number in the structure."""
            super().showPage()
            page = self._doc.Pages.pages[-1]
            page.__NoDefault__ = [*type(page).__NoDefault__, "StructParents", "Tabs"]
            page.StructParents, page.Tabs = len(self._marked) - 1, PDFName("S")
            self._marked.append([])

        def save(self) -> None:
            """Write the structure, then the document."""
            if self._code:
                self.showPage()
            doc = self._doc
            root = PDFDictionary({"Type": PDFName("StructTreeRoot")})
            root_reference = doc.Reference(root)
            whole = PDFDictionary(
                {"Type": PDFName("StructElem"), "S": PDFName("Document"), "P": root_reference}
            )
            whole_reference = doc.Reference(whole)
            kids, numbers = [], []
            for number, (page, marks) in enumerate(zip(doc.Pages.pages, self._marked, strict=False)):
                of_page = []
                for content, (tag, alternative) in enumerate(marks):
                    element = {
                        "Type": PDFName("StructElem"),
                        "S": PDFName(tag),
                        "P": whole_reference,
                        "Pg": doc.Reference(page),
                        "K": content,
                    }
                    if alternative:
                        element["Alt"] = PDFString(alternative)
                    of_page.append(doc.Reference(PDFDictionary(element)))
                kids += of_page
                numbers += [number, doc.Reference(PDFArray(of_page))]
            whole.dict["K"] = PDFArray(kids)
            root.dict["K"] = whole_reference
            root.dict["ParentTree"] = doc.Reference(PDFDictionary({"Nums": PDFArray(numbers)}))
            doc.Catalog.StructTreeRoot = root_reference
            doc.Catalog.MarkInfo = PDFDictionary({"Marked": "true"})
            doc.Catalog.Lang = PDFString("en")
            super().save()

    return TaggedCanvas


def paragraph(markup: str, style: Any, tag: str = "P") -> Any:
    """A paragraph that is one in the structure too ("P", "H1", "H2")."""
    from reportlab.platypus import Paragraph

    class TaggedParagraph(Paragraph):  # type: ignore[misc]  # reportlab has no types
        """Draws itself as marked content."""

        def draw(self) -> None:
            """Mark and draw."""
            self.canv.begin_tag(tag, "")
            super().draw()
            self.canv.end_tag()

    return TaggedParagraph(markup, style)


def picture(png: bytes, width: float, height: float, alternative: str) -> Any:
    """A picture with words for those who can't see it; width and height in points."""
    from io import BytesIO

    from reportlab.platypus import Image

    class TaggedImage(Image):  # type: ignore[misc]  # reportlab has no types
        """Draws itself as marked content."""

        def draw(self) -> None:
            """Mark and draw."""
            self.canv.begin_tag("Figure", alternative)
            super().draw()
            self.canv.end_tag()

    return TaggedImage(BytesIO(png), width, height)
