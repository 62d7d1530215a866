"""One static page from a run: no network, no script, everything that came from outside escaped."""

from nbtools.report.page import write_run_page

__all__ = ["write_run_page"]
