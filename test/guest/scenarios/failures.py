"""Servers that refuse, prove nothing, are away or hang."""
import os
import signal
import socket
import time

from guest.common import (all_right, CA, CACHEFILES, Child, compare_big, Daemon, eventually, expect, expect_eio,
                          HTTPS, mount, mount_fails, mount_is_refused, NEVER, nginx, REDIRECT_302, scenario,
                          serving, SLOW, some_right, TICK, umount, URL, URL_TLS)
from lib.tap import note


@scenario("missing image: mount fails at once, the log says why, the daemon lives", True, differs=True)
def missing():
    daemon = Daemon(URL)
    mount_fails("no-such.erofs")
    daemon.logs(r"no-such\.erofs.*(404|not found|no such)")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("a CA that did not sign the server's certificate: mount fails, the log says why", True)
def wrong_ca():
    mount_is_refused(r"unknown CA|issuer", URL_TLS, f"ca {os.getcwd()}/other-ca.pem", "timeout 3")


@scenario("a certificate of another name: mount fails, the log says why", True)
def wrong_name():
    mount_is_refused(r"not for .*127\.0\.0\.2", f"https://127.0.0.2:{HTTPS}/", CA, "timeout 3")


@scenario("nginx killed in the middle of a response and started again: right bytes")
def interrupted():
    nginx.kill()
    nginx.start(rate="32k")             # slow: the kill comes before the reader's end
    with serving("plain.erofs", f"http://127.0.0.1:{SLOW}/", "timeout 20") as (_, point):
        reader = Child(compare_big, point)
        time.sleep(1.5)
        expect(not reader.ended(), "the reader was faster than the server")
        nginx.kill()
        time.sleep(1)
        expect(not reader.ended(), "the reader did not wait for the server to come back")
        nginx.start()
        reader.succeed()
        some_right(point)


@scenario("nginx gone for longer than the timeout: EIO, then all is well again", True, differs=True)
def outage():
    with serving("plain.erofs", URL, "timeout 2") as (daemon, point):
        os.listdir(point)
        nginx.kill()
        gives_eio(Child(compare_big, point), 2)
        daemon.alive()
        nginx.start()
        some_right(point)


@scenario("nginx hangs for longer than the timeout: EIO, then all is well; waiting costs no CPU", True)
def hanging():
    with serving("plain.erofs", URL_TLS, CA, "timeout 2") as (daemon, point):
        os.listdir(point)
        nginx.signal(signal.SIGSTOP)
        before = daemon.ticks()
        took = gives_eio(Child(compare_big, point), 2)
        used = (daemon.ticks() - before) * TICK
        note(f"a READ that waits until it fails: {used} ms of CPU time")
        expect(used < 1000 * took / 5, "the daemon spins while it waits for the server")
        nginx.signal(signal.SIGCONT)
        some_right(point)


def gives_eio(reader, timeout):
    """Demands EIO near the timeout. Returns the seconds: the kernel repeats a failed READ page by page, so the reader
    may wait twice."""
    start = time.monotonic()
    answer = reader.answer()
    took = time.monotonic() - start
    note(f"the reader got its error after {took:.1f} s")
    expect_eio(answer)
    expect(timeout - 1 < took < 6 * timeout, f"EIO after {took:.1f} s at a timeout of {timeout} s")
    return took


@scenario("SIGKILL frees a reader that waits; the next one gets right bytes", True)
def killed_reader():
    with serving("plain.erofs", URL) as (_, point):
        os.listdir(point)
        nginx.signal(signal.SIGSTOP)
        readers = [Child(compare_big, point) for _ in range(3)]
        time.sleep(1)
        for reader in readers:
            expect(not reader.ended(), "a reader did not wait")
            os.kill(reader.pid, signal.SIGKILL)
        for reader in readers:
            eventually(reader.ended, "a killed reader is gone", 5)
        nginx.signal(signal.SIGCONT)
        some_right(point)


@scenario("a server that never answers for one image holds up neither another nor SIGTERM", True, series=CACHEFILES)
def stuck_image():
    with socket.create_server(("127.0.0.1", NEVER)):
        daemon = Daemon(f"http://127.0.0.1:{REDIRECT_302}/", "timeout 60")
        stuck = Child(mount, "never.erofs")
        time.sleep(0.5)
        start = time.monotonic()
        point = mount("second.erofs", limit=15)
        all_right(point, "second")
        note(f"the other image: mounted and read in {time.monotonic() - start:.1f} s")
        expect(not stuck.ended(), "the mount of the stuck image did not wait")
        umount(point)
        daemon.stop()
        answer = stuck.answer(10)
        expect(answer.startswith("Failed: mount:"), answer)
