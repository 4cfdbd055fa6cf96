"""What the documentation promises is shown by tests that exist, and where it points to there is something."""

import re
from pathlib import Path

import pytest

ROOT = (Path(__file__).parent / "../..").resolve()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]


def promised():
    rows = re.findall(r"^\|.*\|(.*)\|$", (ROOT / "docs/faults.md").read_text(), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(.+?)`", row)]


def test_each_fault_has_a_test_that_shows_it():
    tests = [*ROOT.glob("tests/python/*.py"), *ROOT.glob("crates/**/*.rs")]
    assert len(promised()) > 40
    code = "\n".join(path.read_text() for path in tests)
    # Functions, lines of tables of tests, and groups of them.
    defined = set(re.findall(r"^ *(?:(?:async )?(?:fn|def) |mod )?(\w+)(?=[( ;])", code, re.MULTILINE))
    for name in promised():
        assert defined.issuperset(name.split("::")), f"docs/faults.md names {name}"


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page):
    """Where a page points to within the project: files and folders, and headings in pages."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, heading = target.partition("#")
        if not re.match(r"\w+:", target):
            yield (page.parent / path if path else page), heading


def headings(page):
    lines = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or heading in headings(target), f"{target} has no heading {heading}"
