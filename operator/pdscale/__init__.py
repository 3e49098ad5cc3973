"""Elastic prefill/decode pools for LLM serving on Kubernetes."""

__version__ = "0.1.0"
