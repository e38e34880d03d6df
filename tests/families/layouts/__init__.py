"""Configs of published models, and their tensors' names as the makers write them: one module for each family.

The names are derived from the makers' own sources, not from our rules, so that a wrong rule shows.
"""
