"""The emulated engine as SGLang: legs that meet in rooms, and its own paths, bodies and series."""
