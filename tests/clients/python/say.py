"""What every client here does: say what it has seen, one line each, and read where to connect from the command line."""

import sys

# Four keys, the first within half a minute.
DIGITS = r"4 4 1 30000 # tone_stream://%(100,0,440) silence_stream://100 pin \d+ 30000"


def say(what, detail=""):
    lines = str(detail).splitlines() or [""]
    print(f"{what} {lines[0]}".strip(), flush=True)


def settings():
    mode, port, password, target = (sys.argv[1:] + [""] * 4)[:4]
    return mode, int(port), password, target
