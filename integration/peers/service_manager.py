"""Plays the part of systemd for one service: sockets are opened and handed over, and what it says is written down.

    service_manager.py HEARD [tcp:HOST:PORT | udp:HOST:PORT | unix:PATH]... -- PROGRAM ARGUMENT...

HEARD has a line for each message, the id of the process that sent it in front. `NOTIFY` in the environment is where the
messages are sent to (a path, or a name behind an `@`). SIGHUP and SIGUSR2 are passed on to the service's main process,
SIGTERM and the end of this script end all of them.
"""

import ctypes
import os
import signal
import socket
import struct
import sys


def opened(what):
    kind, _, place = what.partition(":")
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(place)
        listener.listen()
        return listener
    host, _, port = place.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        # As systemd: IPv4 comes along.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    if kind == "tcp":
        listener.listen()
    return listener


def main():
    heard, rest = sys.argv[1], sys.argv[2:]
    places, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    listeners = [opened(place) for place in places]
    name = os.environ.pop("NOTIFY")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    notify.bind("\0" + name[1:] if name.startswith("@") else name)
    child = os.fork()
    if child == 0:
        # PR_SET_PDEATHSIG: nothing outlives a test.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        # Out of the way of the numbers that they get.
        apart = [os.dup2(listener.fileno(), 100 + n) for n, listener in enumerate(listeners)]
        for n, descriptor in enumerate(apart):
            os.dup2(descriptor, 3 + n)
        os.closerange(3 + len(apart), 1024)
        os.environ["NOTIFY_SOCKET"] = name
        if "WATCHDOG_USEC" in os.environ:
            os.environ["WATCHDOG_PID"] = str(os.getpid())
        if listeners:
            os.environ["LISTEN_FDS"] = str(len(listeners))
            os.environ["LISTEN_PID"] = str(os.getpid())
        os.execv(command[0], command)
    main_pid = child
    known = {child}

    def passed_on(number, _):
        os.kill(main_pid, number)

    def ended(_number, _frame):
        for pid in known:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        sys.exit(0)

    signal.signal(signal.SIGHUP, passed_on)
    signal.signal(signal.SIGUSR2, passed_on)
    signal.signal(signal.SIGTERM, ended)
    with open(heard, "a", buffering=1) as log:
        while True:
            data, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
            sender = next(
                struct.unpack("3i", value)[0]
                for level, kind, value in control
                if kind == socket.SCM_CREDENTIALS
            )
            words = data.decode().split("\n")
            log.write(f"{sender} {' '.join(words)}\n")
            for word in words:
                # From the main process alone, as with `NotifyAccess=main`.
                if word.startswith("MAINPID=") and sender == main_pid:
                    main_pid = int(word.partition("=")[2])
                    known.add(main_pid)


main()
