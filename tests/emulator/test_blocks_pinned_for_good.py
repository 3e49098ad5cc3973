"""A request's transfer parameters that have neither flag: its blocks stay, as on a real engine."""

from fakes.emulated import BIDIRECTIONAL, Cluster, request


def test_parameters_without_a_flag_pin_blocks_for_good() -> None:
    cluster = Cluster()
    engine = cluster.add("d")
    _, output = cluster.ask("d", request("r", range(40), params={"colour": "red"}))
    assert output.params is not None
    cluster.pass_time(100 * BIDIRECTIONAL.decoder_blocks_ttl)
    assert engine.cache.usage > 0


def test_a_flag_makes_it_a_lease() -> None:
    cluster = Cluster()
    engine = cluster.add("d")
    cluster.ask("d", request("r", range(40), params={"do_remote_decode": True}))
    cluster.pass_time(BIDIRECTIONAL.lease + 1)
    assert engine.cache.usage == 0
