"""Fakes of foreign systems that speak the real protocol over a socket."""
