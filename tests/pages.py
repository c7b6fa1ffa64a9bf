"""Pages of Markdown whose code is run: the README and the guide."""

import re

import pytest


def blocks(page, language):
    """The code blocks of a language, each as (line of its first line, code)."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in found]


def code(page, language):
    """The code blocks of a language."""
    return [block for _, block in blocks(page, language)]


def run(page):
    """Runs the page's Python from top to bottom in one namespace, which is returned.

    A page that needs a package of an extra says so in a comment, ``<!-- needs: matplotlib -->``,
    and is skipped where the package is not installed.
    """
    for name in re.findall(r"^<!-- needs: (\S+) -->$", page.read_text(), re.MULTILINE):
        pytest.importorskip(name, reason=f"{page.name} needs {name}")
    names = {"__name__": page.stem}
    for line, block in blocks(page, "python"):
        # Empty lines in front: a traceback then says which line of the page it was.
        exec(compile("\n" * (line - 1) + block, page, "exec"), names)
    return names


def broken_links(page):
    """The links to other files that lead nowhere."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    return [link for link in links if not (page.parent / link).exists()]
