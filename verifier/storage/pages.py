"""Pages of a list whose rows are numbered in their order; a page's token is the number of its last row."""

from verifier.errors import InvalidProblem

DEFAULT_PAGE, LARGEST_PAGE = 50, 1000


def page_of(page_size: int, page_token: str) -> tuple[int, int | None]:
    """(rows of the page, number of the last row before it; None for the first page).

    Args:
        page_size: 0 for the default; more than `LARGEST_PAGE` is that.
        page_token: from the page before; "" for the first page.
    Raises:
        InvalidProblem: a negative size, or a token that no page gave.
    """
    if page_size < 0:
        raise InvalidProblem(f"page_size must be >= 0, got {page_size}", field="page_size")
    if page_token and not (page_token.isascii() and page_token.isdigit() and len(page_token) < 19):
        raise InvalidProblem(
            f"page_token must come from the page before, got {page_token!r}: begin again without one",
            field="page_token",
        )
    return min(page_size or DEFAULT_PAGE, LARGEST_PAGE), int(page_token) if page_token else None
