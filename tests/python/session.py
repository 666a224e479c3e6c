"""A chat session in JSON over the `websockets` library: what a user of another language would write first."""

import contextlib
import itertools
import json

from websockets.sync.client import connect

PATIENCE_S = 30


class Session:
    """One device of one user. `said` keeps frames that came and were not asked for."""

    def __init__(self, gateway, user, device=1, subprotocols=None, cursors=()):
        token = gateway.token(user, device)
        connecting = connect(
            gateway.url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=subprotocols,
            compression=None,
            max_size=16 * 1024 * 1024,
        )
        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(connecting)
        self.requests = itertools.count(1)
        self.said = []
        self.welcome = self.next("welcome")
        cursors = [{"conversation": conversation, "last_seq": seq} for conversation, seq in cursors]
        self.say(type="hello", cursors=cursors)

    def say(self, **frame):
        self.socket.send(json.dumps(frame))

    def ask(self, **frame):
        request = next(self.requests)
        self.say(request=request, **frame)
        return self.wait_for(lambda frame: frame.get("request") == request)

    def next(self, kind):
        return self.wait_for(lambda frame: frame["type"] == kind)

    def wait_for(self, matches):
        for at, frame in enumerate(self.said):
            if matches(frame):
                return self.said.pop(at)
        while True:
            frame = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if matches(frame):
                return frame
            self.said.append(frame)

    def create_direct(self, other):
        created = self.ask(type="create", kind="direct", members=[str(other)])
        assert created["type"] == "created", created
        return created["conversation"]

    def send(self, conversation, client_id, body, kind="text"):
        return self.ask(type="send", conversation=conversation, client_id=client_id, kind=kind, body=body)

    def close(self):
        self.open.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
