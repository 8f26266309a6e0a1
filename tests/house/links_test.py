"""Plants links that lead nowhere and checks that links.py finds each, and nothing else."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import links  # noqa: E402

TARGET = """# A title
## Two words, a `name`
## Twice
## Twice
```
# no heading
```
"""


class LinksTest(unittest.TestCase):
    def violations(self, name, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "docs").mkdir()
            (root / "docs/target.md").write_text(TARGET, encoding="utf-8")
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.assertIn(path, list(links.files(root)))
            return list(links.check_file(root, path))

    def assert_found(self, name, text, line=1):
        found = self.violations(name, text)
        self.assertEqual(len(found), 1, (name, text, found))
        self.assertTrue(found[0].startswith(f"{name}:{line}: "), found)

    def assert_clean(self, name, text):
        self.assertEqual(self.violations(name, text), [])

    def test_files(self):
        self.assert_clean("README.md", "See [it](docs/target.md) and [more](docs).")
        self.assert_clean("docs/a.md", "[it](target.md), [above](../docs/target.md)")
        self.assert_found("README.md", "x\n[it](target.md)", line=2)
        self.assert_found("docs/a.md", "[it](docs/target.md)")
        self.assert_clean("docs/a.md", "[out](https://example.com/nothing.md)")

    def test_headings(self):
        for anchor in ("a-title", "two-words-a-name", "twice", "twice-1"):
            self.assert_clean("README.md", f"[it](docs/target.md#{anchor})")
        for anchor in ("twice-2", "no-heading", "Twice"):
            self.assert_found("README.md", f"[it](docs/target.md#{anchor})")
        self.assert_clean("README.md", "# Here\n[up](#here)")
        self.assert_found("README.md", "# Here\n[up](#there)", line=2)

    def test_code_is_no_link(self):
        self.assert_clean("README.md", "```\n[it](nowhere.md)\n```\nand `[it](nowhere.md)`")

    def test_documents_that_sources_name(self):
        self.assert_clean("x.cc", '"see docs/target.md#twice"')
        self.assert_found("x.cc", '// see docs/gone.md')
        self.assert_found("x.h", '// see docs/target.md#gone')
        self.assert_clean("x.cc", '// see https://example.com/docs/gone.md')


if __name__ == "__main__":
    unittest.main()
