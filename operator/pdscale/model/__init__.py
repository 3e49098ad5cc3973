"""The vocabulary: frozen dataclasses whose constructors refuse nonsense."""
