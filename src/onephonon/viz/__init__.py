"""Pictures, pages and reports."""
