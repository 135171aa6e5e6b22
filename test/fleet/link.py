"""The line between a site and an origin: a process that carries TCP connections, all of which share its rate."""
import asyncio
import multiprocessing

from lib.ports import free_port, wait_listening

PIECE = 16 << 10
QUEUE = 0.05        # seconds of bytes that wait for the line before no more are taken


class Link:
    """Leads from its own port to the port `to` of loopback: `rate` bytes a second towards the site, `rtt` seconds there
    and back, and once more for a new connection."""

    def __init__(self, to, rtt, rate):
        self.to, self.rtt, self.rate = to, rtt, rate
        self.port = free_port()
        self.free = 0.0             # when the line has carried what it was given
        self.process = multiprocessing.Process(target=lambda: asyncio.run(self.serve()), daemon=True)

    def __enter__(self):
        self.process.start()
        wait_listening(self.port)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()

    async def serve(self):
        server = await asyncio.start_server(self.carry, "127.0.0.1", self.port)
        async with server:
            await server.serve_forever()

    async def carry(self, reader, writer):
        await asyncio.sleep(self.rtt)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
            try:
                async with asyncio.TaskGroup() as group:
                    for source, sink, rate in ((reader, back, 0), (there, writer, self.rate)):
                        queue = asyncio.Queue()
                        group.create_task(self.take(source, queue, rate))
                        group.create_task(self.deliver(queue, sink))
            finally:
                back.close()
        except* OSError:
            pass
        finally:
            writer.close()

    async def take(self, source, queue, rate):
        """Takes the bytes of one direction. `rate` 0: any number at once."""
        clock = asyncio.get_running_loop().time
        data = b"first"
        while data:
            data = await source.read(PIECE)
            carried = clock()
            if rate:
                self.free = carried = max(self.free, carried) + len(data) / rate
            queue.put_nowait((carried + self.rtt / 2, data))
            await asyncio.sleep(carried - clock() - QUEUE)

    @staticmethod
    async def deliver(queue, sink):
        clock = asyncio.get_running_loop().time
        data = b"first"
        while data:
            when, data = await queue.get()
            await asyncio.sleep(when - clock())
            sink.write(data)
            await sink.drain()
        sink.write_eof()
