"""The course as pages to read and play with, from one folder: on GitHub Pages, from any server, or opened from a disk without a network.

The views of the notebooks are live on the pages. Their JavaScript is that of the notebooks (nbtools/widgets/*.js); in the place of a
kernel a worker answers it, with GPT-2's forward pass in JavaScript (`engine`) and the answers to the views' requests (`kernel`).
"""

from nbtools.site.pages import write_site

__all__ = ["write_site"]
