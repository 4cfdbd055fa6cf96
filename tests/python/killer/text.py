"""What an agent writes: numbered lines with checksums, which follow from its seed alone.

Both sides use it: the agent (`writer.py`, which is why this imports little) and the checks.
"""

import random
import zlib


class Text:
    """One stream of one agent."""

    def __init__(self, seed, stream):
        self.mark = stream.encode()
        self.salt = zlib.crc32(f"{seed}/{stream}".encode())
        self.filling = random.Random(self.salt).randbytes(2300).hex().encode()
        self.written = bytearray()
        self.lines = 0

    def line(self, number):
        at = number * 37 % 4096
        body = b"%s %08d %s" % (self.mark, number, self.filling[at : at + number * 31 % 150])
        return b"%s %08x\n" % (body, zlib.crc32(body, self.salt))

    def batch(self, begin, count):
        return b"".join(map(self.line, range(begin, begin + count)))

    def last_line(self, count):
        """What an agent ends a stream with when it comes to an end by its own will."""
        body = b"%s ends after %08d" % (self.mark, count)
        return b"%s %08x\n" % (body, zlib.crc32(body, self.salt))

    def prefix(self, length):
        """The first bytes of the stream, be it as long as it may."""
        while len(self.written) < length:
            self.written += self.batch(self.lines, 256)
            self.lines += 256
        return bytes(self.written[:length])

    def whole(self, count):
        """The stream after so many lines and an end of the agent's own."""
        return self.batch(0, count) + self.last_line(count)


def echo(number, line):
    """What an agent makes of a line of its stdin."""
    return b"%08d %08x %s\n" % (number, zlib.crc32(line), line)


def echoes(data):
    """What an agent makes of all of its stdin. A last line need not be whole."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(echo(number, line) for number, line in enumerate(lines))
