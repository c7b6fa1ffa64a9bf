"""The guide's code runs as it stands there, page by page, and its links lead somewhere."""

from pathlib import Path

import pages
import pytest

import fastdl

DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("docs/ is not beside the tests", allow_module_level=True)

PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.fixture(autouse=True)
def as_before():
    """Pages may change what is set for the whole process."""
    before = fastdl.floatx()
    yield
    fastdl.set_floatx(before)
    fastdl.set_num_threads(None)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastdl.set_seed(0)
    pages.run(page)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    assert pages.broken_links(page) == []


def test_a_page_that_fails_is_noticed_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nthen\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as raised:
        pages.run(page)
    assert raised.traceback[-1].lineno + 1 == 10
    page.write_text("# Page\n\n[there](page.md#page), [not there](other.md)\n")
    assert pages.broken_links(page) == ["other.md"]
    page.write_text("<!-- needs: no_such_package -->\n\n```python\n1 / 0\n```\n")
    with pytest.raises(pytest.skip.Exception, match=r"page\.md needs no_such_package"):
        pages.run(page)
