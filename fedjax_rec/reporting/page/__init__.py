"""A report: one page that needs no network, with pictures made here."""

from fedjax_rec.reporting.page.html import page

__all__ = ["page"]
