"""The status socket and --status."""
import json
import os
import time

from guest.common import (cached_by, Child, compare_big, compare_pieces, DAEMON, Daemon, expect, mount, nginx,
                          PROBE, program, RSS_LIMIT, RUN, scenario, SLOW, umount, URL)
from lib import exposition
from lib.tap import note


def show_status(*options):
    status, output = program(DAEMON, "-f", f"{RUN}/empty", "--status", *options)
    expect(status == 0, f"--status: {status}: {output}")
    return output


@scenario("status: its numbers are nginx's, the cache file's and the READs'; small, idle; --status, --json",
          differs=True)
def status():
    open(f"{RUN}/empty", "w").close()
    socket_path = "/run/cachefilesd-mini.status"        # the default
    nginx.kill()
    nginx.start(rate="1m")              # slow: READs are under way when the status is shown
    daemon = Daemon(f"http://127.0.0.1:{SLOW}/", f"url {URL}", "trace none")
    start = nginx.mark()
    point = mount("plain.erofs")
    reader = Child(compare_big, point)
    time.sleep(2)
    for line in show_status().splitlines():
        note(f"  {line}")
        expect(len(line) <= 80, "wider than 80 columns")
    for _ in range(50):         # while READs are under way
        exposition.Metrics(exposition.ask(socket_path))
    reader.succeed()
    Child(compare_pieces, point, "plain").succeed()
    other = mount("second.erofs")

    nginx.quiet()
    m = exposition.Metrics(exposition.ask(socket_path))
    sent, requests = nginx.sent(start), nginx.mark() - start
    note(f"{requests} requests and {sent} bytes by nginx's log, {m['read_seconds_count']} READs in "
         f"{m['read_seconds_sum']} s")
    expect(m.sum("mirror_requests_total") == requests, f"{m.sum('mirror_requests_total')} requests")
    expect(m.sum("mirror_received_bytes_total") == sent, f"{m.sum('mirror_received_bytes_total')} bytes")
    expect(m.get("image_received_bytes_total", image="plain.erofs") == nginx.sent(start, "/plain.erofs"), "by image")
    expect(m.get("image_size_bytes", image="plain.erofs") == os.path.getsize("www/plain.erofs"), "size")
    expect(m["read_seconds_count"] == m.sum("image_reads_total"), f"READs: {m.samples}")
    expect(m.sum("image_reads_total") > 10, f"READs: {m.samples}")
    expect(m["reads_failed_total"] == m["reads_waiting"] == 0 and m["open_files"] == 2, f"state: {m.samples}")
    cached = m.get("image_cached_bytes", image="plain.erofs")
    written = m.get("image_written_bytes_total", image="plain.erofs")   # a directory walk may fetch a range twice
    expect(cached <= written <= 1.1 * cached, f"{cached} bytes are cached, {written} written")
    expect(12 << 20 < cached <= os.path.getsize("www/plain.erofs"), f"{cached} bytes are cached")
    images = {i["image"]: i for i in json.loads(show_status("--json"))["images"]}
    expect(set(images) == {"plain.erofs", "second.erofs"}, f"JSON: {images}")
    expect(images["plain.erofs"]["image_cached_bytes"] == cached, "JSON: cached")

    rss, peak = daemon.memory()
    note(f"RSS {rss} kB, peak {peak} kB")
    expect(peak <= RSS_LIMIT, f"RSS is over {RSS_LIMIT} kB")
    ticks, wakeups = daemon.ticks(), daemon.wakeups()
    time.sleep(3)
    expect(daemon.ticks() - ticks <= 1 and daemon.wakeups() - wakeups <= 2, "an idle daemon does something")

    umount(point)
    umount(other)
    on_disk = cached_by(daemon)
    point = mount("plain.erofs")
    m = exposition.Metrics(exposition.ask(socket_path))
    note(f"after umount and mount: {m.get('image_cached_bytes', image='plain.erofs')} of {on_disk} bytes on the disk")
    expect(m.get("image_cached_bytes", image="plain.erofs") == cached, "other bytes are cached after umount and mount")
    expect(m.get("image_written_bytes_total", image="plain.erofs") <= PROBE, "written again")
    expect(m.get("image_cached_bytes", image="second.erofs") is None, "an image that is not mounted is told")
    expect(cached < on_disk < cached + (8 << 20), "the disk has something else")
    umount(point)
    daemon.stop()
