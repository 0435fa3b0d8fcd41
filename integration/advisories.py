"""RustSec's advisories: which of them apply to a package of a version.

A database is a checkout of https://github.com/rustsec/advisory-db. An advisory is `crates/NAME/RUSTSEC-….md`, which begins with TOML:

    [advisory]
    id = "RUSTSEC-2023-0001"
    package = "tokio"
    informational = "unsound"  # or "unmaintained", "notice"; without it, it is a vulnerability
    withdrawn = "2024-01-01"   # it was a mistake
    [versions]
    patched = [">= 1.18.4, < 1.19.0", ">= 1.23.1"]
    unaffected = ["< 1.7.0"]
    [affected]
    os = ["windows"]
"""

import functools
import pathlib
import re
import tomllib

# What mobula runs on; an advisory that names others does not apply.
OS, ARCHITECTURES = "linux", {"x86_64", "aarch64"}


class Database:
    def __init__(self, folder):
        self.crates = pathlib.Path(folder) / "crates"
        if not self.crates.is_dir():
            raise ValueError(f"{folder} is no advisory database, it has no folder `crates`")

    def about(self, name, version):
        """Advisories that apply to a package, as (id, kind, title)."""
        found = []
        for file in sorted((self.crates / name).glob("*.md")):
            try:
                advisory, title = read(file.read_text())
                if applies(advisory, version):
                    kind = advisory["advisory"].get("informational", "vulnerability")
                    found.append((advisory["advisory"]["id"], kind, title))
            except (ValueError, KeyError, TypeError) as e:
                # What cannot be read may apply.
                raise ValueError(f"{file}: {e}") from e
        return found


def read(text):
    front = re.match(r"\s*```toml\n(.*?)\n```(.*)", text, re.DOTALL)
    if not front:
        raise ValueError("it does not begin with ```toml")
    title = re.search(r"^# (.*)", front[2], re.MULTILINE)
    return tomllib.loads(front[1]), title[1] if title else ""


def applies(advisory, version):
    if "withdrawn" in advisory["advisory"]:
        return False
    affected = advisory.get("affected", {})
    if OS not in affected.get("os", [OS]) or not ARCHITECTURES & set(affected.get("arch", ARCHITECTURES)):
        return False
    versions = advisory["versions"]
    good = [*versions["patched"], *versions.get("unaffected", [])]
    return not any(matches(requirement, version) for requirement in good)


def matches(requirement, version):
    """Whether a version meets a requirement of Cargo's: comparisons that all must hold."""
    return all(holds(comparison.strip(), order(version)) for comparison in requirement.split(","))


def holds(comparison, version):
    parsed = re.fullmatch(r"(>=|<=|>|<|=|\^|~)?\s*(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[0-9A-Za-z.-]+)?(\+\S+)?", comparison)
    if not parsed:
        raise ValueError(f"`{comparison}` is no comparison of versions")
    sign = parsed[1] or "^"
    parts = [int(part) for part in parsed.group(2, 3, 4) if part is not None]
    low = order(".".join(map(str, parts + [0] * (3 - len(parts)))) + (parsed[5] or ""))
    # The first version that is not meant by a shortened one: 1.2 is all of 1.2.x.
    beyond = low if len(parts) == 3 else after(parts, len(parts) - 1)
    match sign:
        case ">=":
            return version >= low
        case "<":
            return version < low
        case ">":
            return version > low if len(parts) == 3 else version >= beyond
        case "<=":
            return version <= low if len(parts) == 3 else version < beyond
        case "=":
            return version == low if len(parts) == 3 else low <= version < beyond
        case "~":
            return low <= version < after(parts, min(1, len(parts) - 1))
        case "^":
            # Up to the next change of the first number that is not zero.
            fixed = next((i for i, part in enumerate(parts) if part), len(parts) - 1)
            return low <= version < after(parts, fixed)


def after(parts, place):
    """The first version in which the number at `place` is one more."""
    raised = [*parts[:place], parts[place] + 1, 0, 0][:3]
    return (tuple(raised), (0,))


@functools.cache
def order(version):
    """Versions as values that Python puts in their order (Semantic Versioning, 11)."""
    parsed = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+\S+)?", version)
    if not parsed:
        raise ValueError(f"`{version}` is no version")
    numbers = tuple(map(int, parsed.group(1, 2, 3)))
    if parsed[4] is None:
        return (numbers, (1,))
    # Numbers come before words.
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parsed[4].split(".")]
    return (numbers, (0, *parts))
