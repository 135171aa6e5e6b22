"""The parts of a file that are no hole."""
import os


def data_ranges(fd):
    """[(start, end)] of the bytes of an open file that are no hole (SEEK_DATA, SEEK_HOLE)."""
    out, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        out.append((start, at))
    return out
