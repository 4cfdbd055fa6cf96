"""A client and a subscriber of the wire protocol, on pyzmq and msgpack alone."""

import itertools
import uuid

import msgpack
import zmq

from waiting import PATIENCE, eventually

FINAL = {"completed", "failed", "terminated"}

# How a client frames its messages: a REQ socket, and a DEALER socket with and without the empty
# frame that REQ sends by itself.
SHAPES = ("req", "dealer", "bare_dealer")


class Silence(AssertionError):
    """Nothing came in time."""


def pack(message):
    return msgpack.packb(message, use_bin_type=True)


def unpack(body):
    # Text has to be text: this raises where a `str` is not UTF-8.
    return msgpack.unpackb(body, raw=False, strict_map_key=False)


def new_id():
    return f"request-{uuid.uuid4()}"


def secure(socket, keys):
    """`keys`: (server's public, client's public, client's secret), or None for no encryption."""
    if keys is not None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = (
            key.encode() if isinstance(key, str) else key for key in keys
        )


def receive_frames(socket, timeout):
    if not socket.poll(timeout * 1000):
        raise Silence(f"nothing came within {timeout} s")
    return socket.recv_multipart()


class Client:
    """One connection for requests."""

    def __init__(self, endpoint, shape="dealer", keys=None):
        kind = zmq.REQ if shape == "req" else zmq.DEALER
        self.shape = shape
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.linger = 0
        secure(self.socket, keys)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send_bytes(self, body):
        self.socket.send_multipart([b"", body] if self.shape == "dealer" else [body])

    def send(self, type, **fields):
        """Sends a request, and returns its id."""
        message = {"type": type, "request_id": new_id()} | fields
        self.send_bytes(pack(message))
        return message["request_id"]

    def receive(self, timeout=PATIENCE):
        """The next reply, which has to have the shape that this client sends."""
        frames = receive_frames(self.socket, timeout)
        envelope = [b""] if self.shape == "dealer" else []
        assert frames[:-1] == envelope, f"{self.shape} got frames {frames}"
        return unpack(frames[-1])

    def ask_bytes(self, body):
        self.send_bytes(body)
        return self.receive()

    def ask(self, type, **fields):
        """Sends a request and returns its reply."""
        request_id = self.send(type, **fields)
        reply = self.receive()
        assert reply["request_id"] == request_id
        return reply

    def health(self):
        reply = self.ask("health_check_request")
        assert reply["type"] == "health_check_response" and reply["healthy"]
        return reply

    def list(self, **fields):
        reply = self.ask("list_agents_request", **fields)
        assert reply["type"] == "list_agents_response" and reply["success"], reply
        return reply

    def try_spawn(self, task, request_id=None, timeout_secs=None, metadata=None, **config):
        """Asks for an agent; returns the reply, whatever it says."""
        fields = {"config": config_for(task, **config), "metadata": metadata}
        if timeout_secs is not None:
            fields["timeout_secs"] = timeout_secs
        return self.ask("spawn_request", request_id=request_id or new_id(), **fields)

    def spawn(self, task, **fields):
        """Starts an agent and returns its AgentInfo."""
        reply = self.try_spawn(task, **fields)
        assert reply["type"] == "spawn_response" and reply["success"], reply
        return reply["agent_info"]

    def spawn_ready(self, task, **fields):
        """Starts an agent that prints `ready`, waits for that, and returns the agent's id."""
        id = self.spawn(task, **fields)["id"]
        self.read_until(id, b"ready\n")
        return id

    def send_command(self, id, command_type, **payload):
        return self.send(
            "control_command", agent_id=id, command_type=command_type, payload=payload
        )

    def command(self, id, command_type, **payload):
        """Gives an agent a command; returns the reply, whatever it says."""
        request_id = self.send_command(id, command_type, **payload)
        reply = self.receive()
        assert reply["request_id"] == request_id
        return reply

    def done(self, id, command_type, **payload):
        """Gives an agent a command that has to succeed, and returns the reply's data."""
        reply = self.command(id, command_type, **payload)
        assert reply["type"] == "command_response" and reply["success"], reply
        assert reply["agent_id"] == id
        return reply.get("data") or {}

    def info(self, id):
        return self.done(id, "get_status")["agent_info"]

    def ended(self, id):
        """Waits until an agent has ended, and returns its AgentInfo."""
        return self.ended_within(id, PATIENCE)

    def ended_within(self, id, timeout):
        """Waits for so many seconds at most until an agent has ended; returns its AgentInfo."""

        def final():
            info = self.info(id)
            return info if info["status"] in FINAL else None

        return eventually(final, f"the end of agent {id}", timeout)

    def read_all(self, id, stream="stdout", offset=0):
        """What an agent's stream holds from `offset` to its end, waiting for that end."""
        output = b""
        while True:
            chunk = self.done(id, f"read_{stream}", offset=offset, wait_ms=2000)
            output += chunk["data"]
            offset = chunk["next_offset"]
            if chunk["eof"]:
                return output

    def read_until(self, id, marker, stream="stdout", offset=0):
        """What an agent's stream holds from `offset` on, waiting until `marker` is in it."""
        output = b""

        def found():
            chunk = self.done(id, f"read_{stream}", offset=offset + len(output), wait_ms=1000)
            return chunk["data"]

        while marker not in output:
            output += eventually(found, f"{marker} after {output[-200:]}")
        return output


class Subscriber:
    """One connection for events."""

    def __init__(self, endpoint, *topics, keys=None):
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.linger = 0
        secure(self.socket, keys)
        for topic in topics:
            self.socket.subscribe(topic)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def settle(self):
        """Waits until the subscriptions count: they arrive in order, and a heartbeat answers the
        last one."""
        self.socket.subscribe("server/")
        while not self.receive()[0].startswith("server/"):
            pass
        self.socket.unsubscribe("server/")
        return self

    def receive(self, timeout=PATIENCE):
        topic, body = receive_frames(self.socket, timeout)
        return topic.decode(), unpack(body)

    def kept(self, last, timeout=PATIENCE):
        """The kept events, which are those with a sequence, up to one that `last` is true of, each
        within so many seconds."""
        events = []
        while not (events and last(events[-1])):
            topic, body = self.receive(timeout)
            if body.get("sequence") is not None and topic.startswith("status/"):
                events.append(body)
        return events


def config_for(task, **config):
    """An AgentConfig."""
    return {"name": "test", "model_backend": "sh", "task": task, "environment": {}} | config


def sequence_of(events, key="sequence"):
    return [event[key] for event in events]


def has_no_holes(numbers):
    return all(after == before + 1 for before, after in itertools.pairwise(numbers))
