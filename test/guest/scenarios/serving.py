"""An image is mounted and read: schemes, redirects, domains, memory."""
import os
import subprocess
import time

from guest.common import (all_right, at_once, CA, CACHEFILES, Child, compare, compare_pieces, Daemon,
                          drop_caches, expect, HTTP, HTTPS_RSA, LIMIT, mount, mount_is_refused, nginx, PROBE,
                          PYTHON_SERVER, REDIRECT_302, REDIRECT_308, RSS_LIMIT, scenario, serving, TICK, umount,
                          URL, URL_TLS)
from lib.ports import wait_listening
from lib.tap import note


@scenario("HTTP: every file, again at random from the cache, again after umount and mount", differs=True)
def http():
    start = nginx.mark()
    daemon = Daemon(URL)
    point = mount("plain.erofs")
    all_right(point, "plain")
    fetched = nginx.sent(start)
    size = os.path.getsize("www/plain.erofs")
    note(f"image of {size} bytes, {fetched} bytes fetched in {nginx.mark() - start} requests")
    expect(fetched < 1.5 * size, "much was fetched more than once")

    start = nginx.mark()
    drop_caches()
    all_right(point, "plain", "random")
    expect(nginx.sent(start) == 0, "cached data were fetched again after drop_caches")

    umount(point)
    point = mount("plain.erofs")
    all_right(point, "plain", "random")
    fetched = nginx.sent(start)
    note(f"after umount and mount: {fetched} bytes fetched")
    expect(fetched <= PROBE, f"{fetched} bytes of cached data were fetched again after umount, mount")
    umount(point)
    daemon.stop()


@scenario("HTTPS (EC certificate): random order on an empty cache; RSS, locked; idle costs no CPU time", differs=True)
def https():
    daemon = Daemon(URL_TLS, CA)
    point = mount("plain.erofs")
    Child(compare_pieces, point, "plain").succeed()
    all_right(point, "plain", "random")
    rss, peak = daemon.memory()
    daemon.stays_alive()
    note(f"serving HTTPS: RSS {rss} kB, peak {peak} kB")
    other = mount("second.erofs")

    nginx.quiet()
    ticks, wakeups = daemon.ticks(), daemon.wakeups()
    time.sleep(5)
    used, wakeups = (daemon.ticks() - ticks) * TICK, daemon.wakeups() - wakeups
    note(f"idle for 5 s with two images mounted: {used} ms of CPU time, woken {wakeups} times")
    # On a busy host one tick may hit any process that runs; a loop that spins would collect hundreds.
    expect(used <= TICK and wakeups <= 2, "an idle daemon does something")

    umount(point)
    umount(other)
    daemon.stop()
    expect(peak <= RSS_LIMIT, f"RSS is over {RSS_LIMIT} kB")


@scenario("HTTPS (RSA certificate) by name")
def https_rsa():
    with serving("second.erofs", f"https://localhost:{HTTPS_RSA}/", CA) as (_, point):
        all_right(point, "second", "random")


@scenario("IPv6")
def ipv6():
    with serving("second.erofs", f"http://[::1]:{HTTP}/") as (_, point):
        all_right(point, "second")


@scenario("redirects: 302 to another port, 308 to another host's name over HTTPS")
def redirects():
    for url in (f"http://127.0.0.1:{REDIRECT_302}/", f"https://127.0.0.1:{REDIRECT_308}/"):
        with serving("second.erofs", url, CA) as (_, point):
            all_right(point, "second")


@scenario("two images at once, four readers")
def parallel():
    daemon = Daemon(URL_TLS, CA)
    points = {name: mount(f"{name}.erofs") for name in ("plain", "second")}
    readers = [Child(compare, points[name], name, "random", 200) for name in ("plain", "second") * 2]
    for reader in readers:
        reader.succeed()
    for point in points.values():
        umount(point)
    daemon.stop()


@scenario("a domain: two images share a blob, which is fetched once", series=CACHEFILES)
def domain():
    daemon = Daemon(URL)
    options = ",domain_id=dom,device=shared.blob"
    one = mount("shared1.erofs", options)
    all_right(one, "second", "random")
    start = nginx.mark()
    two = mount("shared2.erofs", options)
    drop_caches()
    all_right(two, "second", "random")
    fetched = nginx.sent(start, "/shared.blob")
    expect(fetched <= PROBE, f"{fetched} bytes of the shared blob were fetched again")
    umount(one)
    all_right(two, "second")
    umount(two)
    daemon.stop()


@scenario("memory 576K, 1M and 16M: right bytes over HTTPS, and no more resident memory than that")
def memory():
    for kilobytes in 576, 1024, 16384:
        with serving("plain.erofs", URL_TLS, CA, f"memory {kilobytes}K") as (daemon, point):
            at_once(point)
            _, peak = daemon.memory()
            note(f"memory {kilobytes}K: peak {peak} kB")
        expect(peak <= kilobytes, f"memory {kilobytes}K: {peak} kB are resident")


@scenario("a server without ranges (200 only) is refused, the log says why", True)
def no_ranges():
    server = subprocess.Popen(
        ["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "www", str(PYTHON_SERVER)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_listening(PYTHON_SERVER, timeout=LIMIT)
        mount_is_refused(r"range", f"http://127.0.0.1:{PYTHON_SERVER}/", "timeout 3")
    finally:
        server.kill()
        server.wait()
