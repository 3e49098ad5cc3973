"""The whole product in five minutes: a cluster, a trace, two pools that resize themselves, a report."""
