"""The next token of a sequence, and whether the answer ends with it."""

from pdscale.emulator.limits import Limits
from pdscale.emulator.sequence import Finish, Sequence
from pdscale.emulator.tokens import END_OF_TURN, Token, next_token, words


def choose(sequence: Sequence, limits: Limits) -> Token:
    """Append the greedy choice."""
    request = sequence.request
    may_end = request.stops and sequence.generated >= request.min_tokens
    token = next_token(sequence.seen, ends_after=limits.answer_length if may_end else 0)
    sequence.tokens.append(token)
    return token


def finish_of(sequence: Sequence, token: Token, limits: Limits) -> Finish | None:
    request = sequence.request
    if token == END_OF_TURN or (request.stop and stop_of(sequence) is not None):
        return Finish.STOP
    full = len(sequence.tokens) >= limits.max_model_len
    return Finish.LENGTH if full or sequence.generated >= request.max_tokens else None


def stop_of(sequence: Sequence) -> str | None:
    """The client's stop text that the last token completed; none before the answer's least length."""
    request = sequence.request
    if not request.stop or sequence.generated < request.min_tokens:
        return None
    # A text of n words, the first and last of which may match in part, lies in the last n + 1.
    longest = max(len(text.split()) for text in request.stop) + 1
    tail = sequence.tokens[max(len(request.prompt), len(sequence.tokens) - longest) :]
    said, before = words(tail), words(tail[:-1])
    return next((text for text in request.stop if text in said and text not in before), None)
