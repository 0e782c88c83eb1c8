"""What the pages say of the code is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflow.commands.config import _explained, settings_page
from workflow.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
_OURS = r"(?:workflow|dicom_io|models|db|tests|benchmarks|alembic|docker|docs)/[\w./-]*"


def test_the_settings_page_is_made_from_the_code():
    made = settings_page(Settings)
    written = (ROOT / "docs/settings.md").read_text()
    assert written == made, "stale: run `tumorline config --markdown > docs/settings.md`"


def test_every_setting_says_what_it_means():
    assert [name for name, _, meaning in _explained(Settings) if not meaning] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    named = re.findall(rf"(?<![\w./-])({_OURS})", (ROOT / page).read_text())
    wrong = {name.rstrip("./") for name in named if not (ROOT / name.rstrip("./")).exists()}
    # "docs/x and y/z" is prose; the file of secrets is made on the site.
    assert {name for name in wrong if "." in name} <= {"docker/.env"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_walk_passes_every_stage():
    text = (ROOT / "docs/architecture.md").read_text()
    stages = {path.name for path in (ROOT / "workflow").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert [name for name in stages if name not in text] == []


def test_the_readme_has_every_folder():
    table = (ROOT / "README.md").read_text().partition("## Folders")[2]
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))}
    folders &= {"workflow", "dicom_io", "models", "db", "alembic", "docker", "docs", "tests", "benchmarks"}
    assert [name for name in folders if name not in table] == []
    inside = {p.name for p in (ROOT / "workflow").iterdir() if (p / "__init__.py").exists()}
    assert [name for name in inside if name not in table] == []
