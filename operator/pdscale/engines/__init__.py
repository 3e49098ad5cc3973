"""Hides the inference engines' wire protocols."""
