"""The front router as a gateway's endpoint picker: Envoy's ext_proc, by the Endpoint Picker Protocol 1.0.

Behind a switch, with libraries of an extra of their own: nothing outside of this folder imports ``service``
unless a port was asked for. ``messages`` alone knows the protocol's types, ``service`` alone speaks gRPC;
what is chosen is the front's business, by the front's own objects.
"""
