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
    for name in promised():
        module, _, test = name.rpartition("::")
        # A function, a line of a table of tests, or a group of them.
        defined = rf"^ *(((async )?(fn|def) )?{test}\(|mod {test} )"
        found = re.search(defined, code, re.MULTILINE)
        assert found, f"docs/faults.md names {name}"
        assert not module or re.search(rf"\bmod {module};", code), f"docs/faults.md names {name}"
