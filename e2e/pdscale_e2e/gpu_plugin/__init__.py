"""A device plugin for GPUs that do not exist, so that a real kubelet hands them out.

The kubelet owns capacity, allocation and device health; figures written into a node's status are gone
after its next restart. This plugin speaks the kubelet's own API (v1beta1), therefore pods get what they
would get from a vendor's plugin: devices by id, their environment, and less of them when one breaks.
"""
