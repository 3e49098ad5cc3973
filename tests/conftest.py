"""Property tests are judged by what they find, not by how long one example took on a busy machine.

A shell's background jobs ignore interrupts, and so would the programs that tests interrupt.
"""

import signal

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
