"""What an engine counts about a request, and at which moment of its life."""

from pdscale.emulator.sequence import Finish, Sequence
from pdscale.emulator.stats import EngineStats
from pdscale.model.units import Seconds


def count_lookup(stats: EngineStats, sequence: Sequence, *, external: bool) -> None:
    """Prefix hits count once per request: at its first admission, not after a preemption."""
    stats.prefix_queries += len(sequence.tokens)
    stats.prefix_hits += sequence.local_cached
    if external:
        stats.external_queries += len(sequence.tokens) - sequence.local_cached
        stats.external_hits += sequence.external_cached


def count_prompt(stats: EngineStats, sequence: Sequence, now: Seconds) -> None:
    """A prompt counts once, when its first token is there; the three sources add up to it.

    The last prompt token of a loaded sequence is computed here although it was loaded, too. It
    counts as loaded, as on a real engine.
    """
    local, external = sequence.local_cached, sequence.external_cached
    stats.prompt_tokens["local_compute"] += len(sequence.request.prompt) - local - external
    stats.prompt_tokens["local_cache_hit"] += local
    stats.prompt_tokens["external_kv_transfer"] += external
    stats.cached_tokens += local + external
    stats.time_to_first_token.observe(now - sequence.times.arrived)


def count_finish(stats: EngineStats, sequence: Sequence, finish: Finish, now: Seconds) -> None:
    """Phases that a request never reached have length zero. Loading counts as queueing."""
    times, request = sequence.times, sequence.request
    stats.finished[finish] += 1
    scheduled = times.scheduled if times.scheduled is not None else now
    first = times.first_token if times.first_token is not None else now
    last = times.last_token if times.last_token is not None else now
    stats.end_to_end.observe(now - times.arrived)
    stats.queue_time.observe(scheduled - times.arrived)
    stats.prefill_time.observe(first - scheduled)
    stats.decode_time.observe(last - first)
    stats.inference_time.observe(last - scheduled)
    stats.time_per_output_token.observe((last - first) / max(1, sequence.generated - 1))
    stats.request_prompt_tokens.observe(len(request.prompt))
    stats.request_generation_tokens.observe(sequence.generated)
    stats.request_max_tokens.observe(request.max_tokens)
    # By the reported hits, as the real one does: on a decode leg these are the prefill leg's, so that
    # the sum exceeds what was computed here. Size by prompt_tokens["local_compute"].
    stats.request_computed_tokens.observe(len(request.prompt) - sequence.cached)
    stats.request_preemptions.observe(sequence.preemptions)
