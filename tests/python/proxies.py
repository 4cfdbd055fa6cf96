"""What can stand between a client and a server, and be unkind."""

import contextlib
import random
import socket
import threading

import zmq
from waiting import PATIENCE


class CuttingProxy:
    """Hands on bytes between TCP connections, until it cuts them."""

    def __init__(self, endpoint):
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self.server = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        # How many connections there have been that reached the server.
        self.connections = 0
        self.pairs = []
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A call of `accept` does not end of a `close`.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def cut(self):
        """Cuts all connections, and says how many there have been. New ones are handed on again."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
            # Before the cut: who is cut off may be back before this returns.
            connections = self.connections
        for pair in pairs:
            end(*pair)
        return connections

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.server, PATIENCE)
            except OSError:
                # Between two runs of the server.
                client.close()
                continue
            server.settimeout(None)
            with self.lock:
                self.pairs.append((client, server))
                self.connections += 1
            for pair in [(client, server), (server, client)]:
                threading.Thread(target=hand_on, args=pair, daemon=True).start()


def hand_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    end(source, target)


def end(*sockets):
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class DroppingProxy:
    """Hands on events, but drops one in three, by chance."""

    def __init__(self, pub_endpoint, seed):
        context = zmq.Context.instance()
        self.source = context.socket(zmq.SUB)
        self.source.subscribe("status/")
        self.source.connect(pub_endpoint)
        self.target = context.socket(zmq.PUB)
        self.target.linger = 0
        port = self.target.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.chance = random.Random(seed)
        self.dropped = self.handed_on = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._hand_on, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        self.source.close()
        self.target.close()

    def _hand_on(self):
        while not self.is_over.is_set():
            if not self.source.poll(50):
                continue
            frames = self.source.recv_multipart()
            if self.chance.randrange(3) == 0:
                self.dropped += 1
            else:
                self.handed_on += 1
                self.target.send_multipart(frames)
