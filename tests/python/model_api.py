"""As much of two models' APIs as an agent needs to have one short conversation, on the loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "Greetings from the model."

# What one answer costs, in tokens.
INPUT_TOKENS = 10
OUTPUT_TOKENS = 7


class ModelApi:
    """Answers everything with ANSWER, streamed as Anthropic's Messages API and OpenAI's Responses
    API do."""

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.conversations = []
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def was_asked(self, text):
        """Whether a conversation was answered that has this in it."""
        return any(text in conversation for conversation in self._server.conversations)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer("", "text/plain")

    def do_GET(self):
        self.answer("{}", "application/json")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = self.path.partition("?")[0]
        if path not in CONVERSATIONS:
            self.answer(json.dumps({"input_tokens": INPUT_TOKENS}), "application/json")
            return
        self.server.conversations.append(body)
        events = CONVERSATIONS[path](json.loads(body).get("model"))
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.answer("".join(lines), "text/event-stream")

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


def anthropic_events(model):
    """An answer of the Messages API."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }
    text = {"type": "text_delta", "text": ANSWER}
    end = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": OUTPUT_TOKENS}}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", **end},
        {"type": "message_stop"},
    ]


def openai_events(model):
    """An answer of the Responses API."""
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
    }
    begun = {"id": "resp_1", "object": "response", "model": model, "status": "in_progress", "output": []}
    usage = {
        "input_tokens": INPUT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    ended = begun | {"status": "completed", "output": [message], "usage": usage}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": ended},
    ]


CONVERSATIONS = {"/v1/messages": anthropic_events, "/v1/responses": openai_events}
