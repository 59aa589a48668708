"""Pages of the site that lie outside docs/: README.md is its first page, and SECURITY.md one more.

Repositories show these files at their root. This hook of mkdocs adds them to the site, and turns
links between them and the other pages into links within the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Names in the repository, and in the site.
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.txt",
}
_NAMES = {site: repository for repository, site in PAGES.items()}
# `](path#anchor)`: a link or an image whose path is relative.
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
# Python-Markdown nests a list by four spaces, and others by the width of the marker above it.
_NESTED = re.compile(r"^ {2,3}(?=- )", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie at the root of the repository."""
    for repository, site in PAGES.items():
        content = (ROOT / repository).read_text()
        files.append(File.generated(config, site, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the text of a page with links and lists as the site has them."""
    path = page.file.src_uri
    here = posixpath.dirname(_NAMES.get(path, f"docs/{path}"))

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, link[1]))
        target = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(path) or '.')}"

    return _NESTED.sub("    ", _LINK.sub(on_site, markdown))
