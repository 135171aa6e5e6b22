"""TLS 1.3: an image of a server that speaks nothing else, and one whose server changes its mind."""
from guest.common import (all_right, CA, Child, compare, compare_big, Daemon, expect, HTTPS_13, mount, nginx,
                          scenario, serving, umount, URL_TLS)


@scenario("HTTPS from an nginx of TLS 1.3 only: all files, in any order", differs=True)
def only_13():
    with serving("plain.erofs", f"https://127.0.0.1:{HTTPS_13}/", CA) as (daemon, point):
        all_right(point, "plain", "random")
        daemon.stays_alive()
        other = mount("second.erofs")
        all_right(other, "second")
        umount(other)


@scenario("a server that goes from TLS 1.2 to 1.3 only, and back, while images are mounted: no reader notices",
          differs=True)
def changing():
    nginx.stop()
    nginx.start(protocols="TLSv1.2")
    daemon = Daemon(URL_TLS, CA, "timeout 20")
    first, second = mount("plain.erofs"), mount("second.erofs")
    for protocols, reader in (("TLSv1.3", (compare_big, first)), ("TLSv1.2", (compare, second, "second")),
                              ("TLSv1.3", (compare, first, "plain"))):
        reader = Child(*reader)
        nginx.stop()
        start = nginx.mark()
        nginx.start(protocols=protocols)
        reader.succeed()
        expect(nginx.sent(start) > 0, f"all was there before the server spoke {protocols}")
    expect("failed after" not in daemon.log(), "a READ has failed")
    umount(first)
    umount(second)
    daemon.stop()
    nginx.stop()
    nginx.start()
