"""What the documentation promises is shown by tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent / "../.."


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
