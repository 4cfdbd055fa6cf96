#!/usr/bin/env python3
"""Makes the golden bodies of this folder with another MessagePack implementation than the crate's own.

For each message: `<type>.map.bin`, every field set, as a map; `<type>.positional.bin`, the same as an
array; `<type>.least.bin`, a map of what is required only. For what payloads and data have a form of their own:
`control_command.<command>.bin`, `command_response.<command>.bin`. Needs the package `msgpack`. The bodies are
what version 1.0.0 of the protocol says: change one only if it is wrong.
"""

import pathlib
import uuid

import msgpack

AGENT = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
TIME = {"secs_since_epoch": 1_700_000_000, "nanos_since_epoch": 5}
TAGS = {"team": "blue"}
FAILED = {"error": "Agent not found", "error_code": "agent_not_found"}


def config():
    return {
        "name": "reviewer", "model_backend": "claude", "task": "Review – bitte", "context": "a context",
        "system_prompt": "be brief", "environment": {"A": "1", "B": ""}, "model": "large", "tool_level": "readonly",
        "agents": {"helper": {"prompt": "help"}}, "working_dir": "/srv/agents", "args": ["--verbose", ""],
        "stdin": "pipe", "resume_session": "s-1", "labels": TAGS,
        "limits": {
            "max_runtime_secs": 3600, "idle_timeout_secs": 60, "memory_bytes": 2**32, "cpu_percent": 150,
            "pids": 200, "output_bytes": 65536,
        },
    }


def info():
    return {
        "id": AGENT, "name": "reviewer", "status": "failed", "model_backend": "claude", "started_at": TIME,
        "task": "Review", "paused_at": TIME, "pause_mode": "forced", "attach_info": {"tty": None},
        "server_id": "server-01", "pid": 4242, "exit_code": -1, "exit_signal": 9, "end_reason": "memory_limit",
        "finished_at": TIME, "metadata": {"ticket": "42"}, "labels": TAGS, "session_id": "s-1", "model": "large",
        "usage": {"input_tokens": 100, "output_tokens": 300, "cache_read_tokens": 70000, "cost_usd": 0.25},
        "result": {"is_error": True, "text": "out of memory"},
        "output": {"stdout_bytes": 1000, "stderr_bytes": 0}, "agent_sequence": 7,
    }


def least_info():
    keys = ("id", "name", "status", "model_backend", "started_at", "task", "server_id", "output", "agent_sequence")
    full = info()
    return {key: full[key] for key in keys}


def update():
    return {
        "agent_id": AGENT, "update_type": "terminated", "status": "terminated", "message": "stopped",
        "data": {"exit_code": None, "exit_signal": 15, "end_reason": "stopped"}, "timestamp": TIME,
        "server_id": "server-01", "epoch": "e1", "sequence": 12, "agent_sequence": 3,
    }


# Fields in positional order.
FULL = {
    "spawn_request": {"request_id": "r1", "config": config(), "timeout_secs": 30, "metadata": {"ticket": "42"}},
    "spawn_response": {
        "request_id": "r1", "success": True, "agent_info": info(), "error": "none", "server_id": "server-01",
        "error_code": "internal",
    },
    "control_command": {"request_id": "r1", "agent_id": AGENT, "command_type": "stop", "payload": {"grace_secs": 1.5}},
    "command_response": {
        "request_id": "r1", "agent_id": AGENT, "success": False, "status": "running", "data": {"bytes_written": 0},
        **FAILED,
    },
    "list_agents_request": {
        "request_id": "r1", "filter_status": "thinking", "limit": 300, "after": AGENT, "include_finished": False,
    },
    "list_agents_response": {
        "request_id": "r1", "success": True, "agents": [info(), least_info()], **FAILED, "has_more": True,
        "epoch": "e1", "sequence": 70000,
    },
    "health_check_request": {"request_id": "r1"},
    "health_check_response": {
        "request_id": "r1", "healthy": True, "protocol_version": "1.0.0", "uptime_secs": 86400, "active_agents": 3,
        "metadata": {"host": "a"},
    },
    "stats_request": {"request_id": "r1"},
    "stats_response": {"request_id": "r1", "stats": {"errors": 0, "started_at": TIME}},
    "custom_action_request": {
        "request_id": "r1", "agent_id": AGENT, "action": "echo", "params": [1, None, "x"], "timeout_secs": 5,
    },
    "batch_control_command": {
        "request_id": "r1", "agent_ids": [AGENT, OTHER], "command_type": "kill", "payload": {}, "fail_fast": True,
    },
    "batch_control_response": {
        "request_id": "r1", "success": False,
        "results": [
            {"agent_id": AGENT, "success": True, "status": "terminated"},
            {"agent_id": OTHER, "success": False, "status": "idle", **FAILED},
        ],
        "successful": 1, "failed": 1,
    },
    "output_query_request": {
        "request_id": "r1", "agent_id": AGENT, "stream": "both", "filter": "^error", "limit": 10, "offset": 20,
        "tail": True, "count": False, "from_offset": 30,
    },
    "output_query_response": {
        "request_id": "r1", "agent_id": AGENT, "success": True, "lines": ["error: a", ""], "total_lines": 22,
        "has_more": False, **FAILED, "next_offset": 4000, "lost_bytes": 100,
    },
    "events_request": {
        "request_id": "r1", "epoch": "e1", "after_sequence": 11, "limit": 100, "agent_id": AGENT, "wait_ms": 5000,
    },
    "events_response": {
        "request_id": "r1", "epoch": "e1", "events": [{"type": "status_update", **update()}], "next_sequence": 12, "gap": False,
    },
    "error_response": {"request_id": "r1", "error": "missing", "error_code": "malformed_message"},
    "status_update": update(),
    "log_stream": {
        "agent_id": AGENT, "stream_type": "stderr", "data": b"\xff\x00line\n", "timestamp": TIME, "sequence": 1,
        "offset": 4096,
    },
}

# Payloads and data whose values are more than scalars.
COMMANDS = {
    "write_stdin": {"data": b"y\n", "encoding": "utf8", "close": True, "writer": {"id": "w-1", "offset": 300}},
    "read_stderr": {"offset": 7, "max_bytes": 100, "wait_ms": 0, "since": TIME, "times": True},
}

DATA = {
    "read_stderr": {"data": b"a\nb\n", "times": [{"offset": 7, "time": TIME}, {"offset": 9, "time": TIME}]},
}

CONFIG_OPTIONAL = set(config()) - {"name", "model_backend", "task", "environment"}

# The optional fields of each message, which its least form leaves out.
OPTIONAL = {
    "spawn_request": {"timeout_secs", "metadata"},
    "spawn_response": {"agent_info", "error", "server_id", "error_code"},
    "control_command": {"payload"},
    "command_response": {"status", "data", "error", "error_code"},
    "list_agents_request": {"filter_status", "limit", "after", "include_finished"},
    "list_agents_response": {"error", "error_code"},
    "health_check_response": {"uptime_secs", "active_agents", "metadata"},
    "custom_action_request": {"params", "timeout_secs"},
    "batch_control_command": {"payload"},
    "output_query_request": {"filter", "limit", "offset", "tail", "count", "from_offset"},
    "output_query_response": {"total_lines", "error", "error_code", "next_offset", "lost_bytes"},
    "events_request": {"limit", "agent_id", "wait_ms"},
    "status_update": {"status", "message", "data", "sequence", "agent_sequence"},
}

INFO_KEYS = list(info())
CONFIG_KEYS = list(config())
RESULT_KEYS = ["agent_id", "success", "status", "error", "error_code"]


def listed(value, keys=None):
    """A struct as the list of its fields."""
    return [value.get(key) for key in keys or value]


def positional_info(value):
    value = dict(value)
    for key in ("started_at", "paused_at", "finished_at", "usage", "result", "output"):
        if key in value:
            value[key] = listed(value[key])
    return listed(value, INFO_KEYS)


def positional(kind, fields):
    fields = dict(fields)
    if kind == "spawn_request":
        limits = listed(fields["config"]["limits"])
        fields["config"] = listed({**fields["config"], "limits": limits}, CONFIG_KEYS)
    if kind == "spawn_response":
        fields["agent_info"] = positional_info(fields["agent_info"])
    if kind == "list_agents_response":
        fields["agents"] = [positional_info(agent) for agent in fields["agents"]]
    if kind == "batch_control_command":
        fields["agent_ids"] = [uuid.UUID(agent).bytes for agent in fields["agent_ids"]]
    if kind == "batch_control_response":
        fields["results"] = [listed(result, RESULT_KEYS) for result in fields["results"]]
    if kind == "events_response":
        fields["events"] = [["status_update", *listed({**update(), "timestamp": listed(TIME)})]]
    if "timestamp" in fields:
        fields["timestamp"] = listed(fields["timestamp"])
    return [kind, *fields.values()]


def least(kind, fields):
    fields = {key: value for key, value in fields.items() if key not in OPTIONAL.get(kind, ())}
    if kind == "spawn_request":
        fields["config"] = {key: value for key, value in config().items() if key not in CONFIG_OPTIONAL}
    if kind == "error_response":
        fields["request_id"] = None
    return {"type": kind, **fields}


def main():
    folder = pathlib.Path(__file__).parent
    for kind, fields in FULL.items():
        forms = {
            "map": {"type": kind, **fields},
            "positional": positional(kind, fields),
            "least": least(kind, fields),
        }
        for form, message in forms.items():
            (folder / f"{kind}.{form}.bin").write_bytes(msgpack.packb(message))
    for command, payload in COMMANDS.items():
        fields = {"request_id": "r1", "agent_id": AGENT, "command_type": command, "payload": payload}
        body = {"type": "control_command", **fields}
        (folder / f"control_command.{command}.bin").write_bytes(msgpack.packb(body))
    for command, data in DATA.items():
        fields = {"request_id": "r1", "agent_id": AGENT, "success": True, "data": data}
        body = {"type": "command_response", **fields}
        (folder / f"command_response.{command}.bin").write_bytes(msgpack.packb(body))


main()
