"""TCP ports of the loopback interface."""
import contextlib
import socket
import time


def free_ports(count):
    """Unused ports, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def free_port():
    return free_ports(1)[0]


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_listening(*ports, process=None, log=None, timeout=20):
    """Waits until servers listen on all these ports. `process`: the server, which may end before; `log`: its file with
    the reason."""
    end = time.monotonic() + timeout
    for port in ports:
        while not is_listening(port):
            if time.monotonic() > end or (process and process.poll() is not None):
                said = ""
                if log:
                    with contextlib.suppress(OSError), open(log, errors="replace") as file:
                        said = ":\n" + file.read()
                raise TimeoutError(f"no server listens on port {port}{said}")
            time.sleep(0.05)
