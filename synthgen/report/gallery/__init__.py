"""`synthgen report`: a dataset as one HTML file to look at, to filter and to show."""

from synthgen.report.gallery.contents import Gallery, collect
from synthgen.report.gallery.page import write_gallery

__all__ = ["Gallery", "collect", "write_gallery"]
