"""Workflow files run without a page, on either host."""
