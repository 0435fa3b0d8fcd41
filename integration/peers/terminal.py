"""terminal.py END PROGRAM ARGS...: runs a program in a terminal of its own, looks at another table, changes the size, and ends it
by a key or by a signal. Prints what was shown and whether the terminal is as it was, as JSON."""

import fcntl, json, os, pty, select, signal, struct, sys, termios, time

end, program = sys.argv[1], sys.argv[2:]
master, slave = pty.openpty()


def resize(rows, columns):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(30, 120)
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(slave, descriptor)
    os.execv(program[0], program)

screen = b""
deadline = time.monotonic() + 30


def until(holds, what):
    global screen
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what} never came: {screen!r}")
        if select.select([master], [], [], 0.1)[0]:
            screen += os.read(master, 65536)


until(lambda: b"a@mobula.test" in screen, "the tunnel")
raw = termios.tcgetattr(slave)
assert raw[3] & termios.ICANON == 0, "keys come one by one"
os.write(master, b"4")
until(lambda: b"OUTBOUND" in screen, "another table")
resize(12, 40)


def is_small():
    frame = screen[screen.rfind(b"\x1b[?2026h"):]
    return b"\x1b[12;1H" in frame and b"\x1b[13;1H" not in frame and b"\x1b[?2026l" in frame


until(is_small, "the smaller size")
if end in ("TERM", "INT", "HUP"):
    os.kill(child, getattr(signal, "SIG" + end))
else:
    os.write(master, end.encode())
status = []


def has_ended():
    pid, code = os.waitpid(child, os.WNOHANG)
    if pid:
        status.append(os.waitstatus_to_exitcode(code))
    return bool(status)


until(has_ended, "the end")
while select.select([master], [], [], 0.2)[0]:
    screen += os.read(master, 65536)
after = termios.tcgetattr(slave)
print(json.dumps({"status": status[0], "settings_are_back": before == after, "screen": screen.decode(errors="replace")}))
