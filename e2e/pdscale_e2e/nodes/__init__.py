"""The node agent: nodes that exist in the API only, and pods that are statuses or plain processes.

It needs nothing but the API, so it works with every cluster, and no image, container runtime or
device plugin. What it leaves out of a kubelet: images, cgroups and limits, security contexts, users,
a loopback device per pod, DNS, logs and exec through the API server, persistent volumes.
"""
