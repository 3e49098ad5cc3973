"""The custom resource, and its translation to and from the model."""
