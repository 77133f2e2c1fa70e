"""The README knows every flag of the server."""

import re
import subprocess
import unittest

from harness import MYTSDB_BIN, ROOT


class Readme(unittest.TestCase):
    def test_the_readme_has_exactly_the_flags_of_the_server(self) -> None:
        help_text = subprocess.run([MYTSDB_BIN, "--help"], capture_output=True, text=True, check=True).stdout
        flags = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", help_text, re.MULTILINE)) - {"--help", "--version"}
        documented = set(re.findall(r"^\| `(--[a-z-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
        self.assertEqual(documented, flags)
