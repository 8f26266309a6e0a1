"""Checks that what documents link to is there, files and headings, and the documents that sources
and messages name.

Usage: links.py ROOT

Fails, naming file and line. Addresses of other hosts are not looked at: a test needs no network.
"""

import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
# In sources: the whole path, from the root.
NAMED = re.compile(r"(?<![\w/])(docs/[\w/-]+\.md(?:#[\w-]+)?)")
SOURCES = {".cc", ".h", ".proto", ".py", ".sh", ".cmake", ".yaml"}
# Plants what is to be found.
OWN_TEST = "links_test.py"


def files(root):
    """Documents and sources, of the folders that are not hidden and not built."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "build")) for part in parts[:-1]) or path.name == OWN_TEST:
            continue
        if path.suffix == ".md" or path.suffix in SOURCES or path.name == "Makefile":
            yield path


def anchors(text):
    """The anchors of the headings, as GitHub makes them."""
    found = set()
    for line in lines_outside_code(text):
        heading = HEADING.match(line)
        if not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        anchor, number = slug, 0
        while anchor in found:
            number += 1
            anchor = f"{slug}-{number}"
        found.add(anchor)
    return found


def lines_outside_code(text):
    """All lines, those of code blocks as empty ones."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            yield ""
        else:
            yield "" if fenced else line


def links(path, text):
    """Line number, target and the folder that it is relative to, None for the root."""
    if path.suffix != ".md":
        for number, line in enumerate(text.splitlines(), 1):
            for target in NAMED.findall(line):
                yield number, target, None
        return
    for number, line in enumerate(lines_outside_code(text), 1):
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if not ELSEWHERE.match(target):
                yield number, target, path.parent


def check_file(root, path):
    for number, target, folder in links(path, path.read_text(encoding="utf-8")):
        where = f"{path.relative_to(root)}:{number}"
        name, _, anchor = target.partition("#")
        to = (folder or root) / name if name else path
        if not to.exists():
            yield f"{where}: there is no {name}"
        elif anchor and (to.suffix != ".md"
                         or anchor not in anchors(to.read_text(encoding="utf-8"))):
            yield f"{where}: {name or 'this document'} has no heading #{anchor}"


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__.strip())
    root = pathlib.Path(arguments[0]).resolve()
    paths = list(files(root))
    violations = [violation for path in paths for violation in check_file(root, path)]
    for violation in violations:
        print(violation)
    print(f"{len(paths)} files, {len(violations)} violations")
    # Without files the check would pass whatever they say.
    return 1 if violations or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
