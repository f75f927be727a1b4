"""Print the dependencies of the package and of the named extras, one a line, from pyproject.toml.

pip can only install them together with the package, and the package needs some of them to build.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]
for requirement in sum(extras, project["dependencies"]):
    sys.stdout.write(f"{requirement}\n")
