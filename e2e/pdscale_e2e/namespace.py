"""Runs a command in a small world of its own: ``python -m pdscale_e2e.namespace COMMAND...``.

One unprivileged user, network, mount and process namespace holds the control plane, the pods'
processes, the tests and every client. Three things come for free: no port of the host is taken, so
clusters can run side by side; every pod gets a real address, since the whole of 10.89.0.0/16 is local
to the loopback device; and when the command ends, the kernel ends all that it left behind. Temporary
files go the same way.

Pod addresses are not 127.x.y.z because the API server refuses loopback addresses in EndpointSlices.
There is no way out of the namespace: what needs the network (building tools) happens before.

Only the standard library is used, and root is not needed.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final, NoReturn

from pdscale_e2e import linux
from pdscale_e2e.linux import Namespace

POD_RANGE: Final = "10.89.0.0/16"
SERVICE_RANGE: Final = "10.96.0.0/16"
MARK: Final = "PDSCALE_E2E_NAMESPACE"

_NETWORK: Final = (
    "ip link set lo up",
    f"ip address add {POD_RANGE} dev lo",
    # Service addresses need a route before kube-proxy's rules get to rewrite them.
    f"ip route add {SERVICE_RANGE} dev lo",
)


class NamespaceUnavailable(RuntimeError):
    """This machine cannot give us a namespace; the message says what is missing."""


def inside_namespace(environ: Mapping[str, str] = os.environ) -> bool:
    return bool(environ.get(MARK))


def run(command: Sequence[str]) -> int:
    """Run ``command`` inside, wait for it, and return its exit code."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        raise NamespaceUnavailable(
            "the local cluster needs Linux and the `ip` command (iproute2); elsewhere set "
            "PDSCALE_E2E_CLUSTER to another provider"
        )
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(Namespace.USER | Namespace.NET | Namespace.MOUNT | Namespace.PID)
        linux.become_root_inside(uid, gid)
    except OSError as error:
        raise NamespaceUnavailable(
            f"this machine does not let users make namespaces ({error}); look at "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns, or set PDSCALE_E2E_CLUSTER to another "
            "provider"
        ) from error
    # Killed processes clean nothing up, so what they keep in files goes with us.
    with tempfile.TemporaryDirectory(prefix="pdscale-e2e-") as scratch:
        first = os.fork()
        if first == 0:
            _be_first_process(command, {**os.environ, MARK: "1", "TMPDIR": scratch})
        _pass_on_signals(first)
        return _exit_code(os.waitpid(first, 0)[1])


def _be_first_process(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Process number 1 inside: when it ends, the kernel ends all others."""
    linux.die_with_parent()
    code = 127
    try:
        linux.keep_mounts_private()
        linux.mount("proc", "/proc", "proc")
        for line in _NETWORK:
            subprocess.run(line.split(), check=True)
        child = subprocess.Popen(command, env=environ)
        _pass_on_signals(child.pid)
        code = _reap_until(child.pid)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"pdscale_e2e.namespace: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _pass_on_signals(pid: int) -> None:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(pid, number)

    # Ctrl-C reaches the whole foreground group: the command has had its own copy already.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)


def _reap_until(pid: int) -> int:
    """The first process inherits every orphan, and somebody has to bury them."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return _exit_code(status)


def _exit_code(status: int) -> int:
    """A shell's way to say it: 143 when ended by signal 15."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(command: Sequence[str]) -> int:
    if not command:
        print("usage: python -m pdscale_e2e.namespace COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    try:
        return run(command)
    except NamespaceUnavailable as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
