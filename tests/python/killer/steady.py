"""A client that asks until it is answered: again on every new connection, with the same
request_id."""

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from client import new_id, pack, unpack

# A server that keeps a connection and does not answer within this time has lost the request.
SILENCE_SECS = 60.0

RECONNECT_MS = 20


class SteadyClient:
    """All that it asks may be sent twice: spawns by their id, writes and reads by their offset."""

    def __init__(self, server, course):
        self.course = course
        self.connections = 0
        self.repeated = 0
        self.passed_over = 0
        # Whether the last question was put more than once.
        self.has_repeated = False
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = RECONNECT_MS
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.socket.connect(server.endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()

    def ask(self, type, **fields):
        """Asks, and returns the reply, whatever it says."""
        message = {"type": type, "request_id": new_id()} | fields
        self.has_repeated = False
        while self.monitor.poll(0):
            self._connected()
        while True:
            self.socket.send_multipart([b"", pack(message)])
            self.course.note("spawn" if type == "spawn_request" else fields.get("command_type"))
            reply = self._reply_to(message["request_id"])
            if reply is not None:
                return reply
            self.repeated += 1
            self.has_repeated = True

    def command(self, id, command_type, **payload):
        fields = {"agent_id": id, "command_type": command_type, "payload": payload}
        return self.ask("control_command", **fields)

    def list(self, **fields):
        reply = self.ask("list_agents_request", **fields)
        assert reply["success"], reply
        return reply

    def _reply_to(self, request_id):
        """The reply, or None where there is a new connection, on which nothing was asked yet."""
        deadline = time.monotonic() + SILENCE_SECS
        while time.monotonic() < deadline:
            self.course.check()
            ready = zmq.zmq_poll([(self.socket, zmq.POLLIN), (self.monitor, zmq.POLLIN)], 200)
            ready = [socket for socket, _ in ready]
            if self.socket in ready:
                reply = unpack(self.socket.recv_multipart()[-1])
                if reply["request_id"] == request_id:
                    return reply
                self.passed_over += 1
                assert self.passed_over <= self.repeated, f"nothing asked for this: {reply}"
            elif self.monitor in ready and self._connected():
                return None
        raise AssertionError(f"no reply within {SILENCE_SECS} s")

    def _connected(self):
        """Whether this was not the first connection: what is sent before that one waits for it."""
        recv_monitor_message(self.monitor)
        self.connections += 1
        return self.connections > 1
