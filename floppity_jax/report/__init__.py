"""What a finished run says of itself: a table as text, and a page with everything."""

from floppity_jax.report.table import summary_table
from floppity_jax.report.write import write_report

__all__ = ["summary_table", "write_report"]
