"""A WebSocket client that can be as wrong as a test needs: RFC 6455 by hand over a socket."""

import base64
import hashlib
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PATIENCE_S = 60


class Raw:
    """An upgraded connection. Frames come back as (fin, opcode, payload)."""

    def __init__(self, gateway, token, subprotocol="tidegate.echo"):
        self.socket = socket.create_connection((gateway.host, gateway.port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = bytearray()
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /ws HTTP/1.1\r\nHost: {gateway.host}:{gateway.port}\r\nConnection: keep-alive, Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: {subprotocol}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        while b"\r\n\r\n" not in self.unread:
            assert self.read_more(), f"no answer to the upgrade: {bytes(self.unread)}"
        head, _, rest = bytes(self.unread).partition(b"\r\n\r\n")
        self.unread = bytearray(rest)
        assert head.startswith(b"HTTP/1.1 101 "), head
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert b"sec-websocket-accept: " + accept.lower() in head.lower(), head

    def send(self, data, chop=None):
        """Writes bytes, in pieces of `chop` if given. A gateway that hung up already has said why: that is read later."""
        try:
            if chop is None:
                self.socket.sendall(data)
            else:
                for at in range(0, len(data), chop):
                    self.socket.sendall(data[at : at + chop])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read_more(self):
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            return False
        self.unread += data
        return bool(data)

    def take(self, count):
        while len(self.unread) < count:
            if not self.read_more():
                return None
        taken = bytes(memoryview(self.unread)[:count])
        del self.unread[:count]
        return taken

    def frame(self):
        """The next frame; None at the end of the connection."""
        head = self.take(2)
        if head is None:
            return None
        assert head[0] & 0x70 == 0, "reserved bits are not ours to set"
        assert head[1] & 0x80 == 0, "a server must not mask"
        length = head[1]
        if length == 126:
            (length,) = struct.unpack(">H", self.take(2))
            assert length > 125, "not the shortest form of a length"
        elif length == 127:
            (length,) = struct.unpack(">Q", self.take(8))
            assert length > 0xFFFF, "not the shortest form of a length"
        return bool(head[0] & 0x80), head[0] & 0x0F, self.take(length)

    def message(self):
        """The next message: (opcode, payload)."""
        fin, opcode, payload = self.frame()
        parts = [payload]
        while not fin:
            fin, more, payload = self.frame()
            assert more == CONTINUATION
            parts.append(payload)
        return opcode, b"".join(parts)

    def closed(self):
        """Reads to the end and returns (messages, close code or None)."""
        messages = []
        while (frame := self.frame()) is not None:
            _, opcode, payload = frame
            if opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                payload[2:].decode()
                self.send(encode(CLOSE, payload[:2]))
                assert self.frame() is None, "nothing comes after a close"
                return messages, code
            messages.append((opcode, payload))
        return messages, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def encode(opcode, payload=b"", fin=True, reserved=0, masked=True, key=b"\x37\xfa\x21\x3d"):
    """One frame as bytes."""
    head = bytes([(fin << 7) | (reserved << 4) | opcode])
    bit = 0x80 if masked else 0
    if len(payload) <= 125:
        head += bytes([bit | len(payload)])
    elif len(payload) <= 0xFFFF:
        head += bytes([bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", len(payload))
    return head + (key + mask(payload, key) if masked else payload)


def mask(payload, key):
    if not payload:
        return b""
    # As one large number: a loop over 16 MiB would take longer than all other tests.
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return masked.to_bytes(len(payload), "big")


def fragments(opcode, parts):
    """A message in these parts, as a list of frames."""
    last = len(parts) - 1
    return [encode(opcode if at == 0 else CONTINUATION, part, fin=at == last) for at, part in enumerate(parts)]


def close(code, reason=b""):
    return encode(CLOSE, struct.pack(">H", code) + reason)
