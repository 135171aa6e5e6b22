"""TLS 1.3: an image of a server that speaks nothing else, one of a server in FIPS mode, and one whose server changes
its mind."""
import os

from guest.common import (all_right, CA, Child, compare, compare_big, Daemon, expect, HTTPS_13, HTTPS_FIPS, mount,
                          nginx, program, scenario, serving, umount, URL_TLS)
from lib import nginx as web


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


@scenario("HTTPS from an nginx whose OpenSSL is in FIPS mode, so that TLS 1.2 is refused", series=())
def fips():
    tree = os.path.realpath("newer")
    expect(os.path.isdir(tree), "the tree of its Debian is missing, which test/client/peers_tls13.py makes")
    for words in ("-t", "tmpfs", "none", f"{tree}/srv"), ("--bind", "/dev", f"{tree}/dev"):
        expect(program("mount", *words)[0] == 0, "mount")
    folder = f"{tree}/srv/www"
    os.mkdir(folder)
    expect(program("mount", "--bind", os.getcwd(), folder)[0] == 0, "mount")
    server = web.Nginx("/srv", "$ssl_protocol $request_uri", tree)
    server.start(f"server {{ listen 127.0.0.1:{HTTPS_FIPS} ssl; ssl_protocols TLSv1.2 TLSv1.3; root /srv/www/www; "
                 f"{web.tls('/srv/www/ec')} }}", [HTTPS_FIPS])
    try:
        with serving("plain.erofs", f"https://127.0.0.1:{HTTPS_FIPS}/", CA) as (_, point):
            all_right(point, "plain", "random")
        versions = {words[0] for words in server.lines()}
        expect(versions == {"TLSv1.3"}, f"spoken was {versions}")
    finally:
        server.kill()
