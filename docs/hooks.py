"""What the site adds to its pages: the list of the kernels, made from the op table."""

from fastdl.kernels import describe
from fastdl.kernels.table import OPS


def on_page_markdown(markdown, page, config, files):
    """Adds each op with its signature and docstring to the page about them."""
    if page.file.src_uri != "reference/kernels.md":
        return markdown
    sections = (
        f"## `{name}`\n\n```text\n{name}{describe.signature(op)}\n\n{describe.document(op)}\n```\n"
        for name, op in OPS.items()
    )
    return "\n".join([markdown, *sections])
