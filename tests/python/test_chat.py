"""Promise: a client in another language, over JSON text, chats, catches up and is told what it did wrong."""

import base64

import pytest
from session import Session
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SUBPROTOCOLS = [None, ["tidegate.v1.json"]]


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS, ids=["no subprotocol", "tidegate.v1.json"])
def test_two_users_chat(gateway, subprotocols):
    first_user, second_user = (11, 12) if subprotocols else (13, 14)
    with Session(gateway, first_user, subprotocols=subprotocols) as first:
        assert first.welcome["user"] == str(first_user)
        assert first.welcome["heartbeat_ms"] > 0
        with Session(gateway, second_user, subprotocols=subprotocols) as second:
            conversation = first.create_direct(second_user)
            ack = first.send(conversation, "01HW3M9XVZ8T3B4Q5R6S7T8V9W", "hello")
            assert (ack["type"], ack["seq"]) == ("ack", 1)
            assert ack["client_id"] == "01HW3M9XVZ8T3B4Q5R6S7T8V9W"
            deliver = second.next("deliver")
            assert deliver["body"] == "hello"
            assert deliver["sender"] == str(first_user)
            assert deliver["message_id"] == ack["message_id"]
            assert deliver["created"] == ack["created"]
            assert isinstance(deliver["message_id"], str) and isinstance(deliver["seq"], int)
            assert second.send(conversation, "answer-1", "grüße 🌊")["seq"] == 2
            assert first.next("deliver")["body"] == "grüße 🌊"
            assert first.said == [], "no echo, nothing unasked"


def test_the_senders_second_device_receives_and_the_sending_session_does_not(gateway):
    with Session(gateway, 21, device=1) as phone, Session(gateway, 21, device=2) as laptop:
        with Session(gateway, 22) as other:
            conversation = phone.create_direct(22)
            phone.send(conversation, "from-phone", "from the phone")
            assert laptop.next("deliver")["seq"] == 1
            assert other.next("deliver")["seq"] == 1
            other.send(conversation, "an-answer", "an answer")
            assert phone.next("deliver")["seq"] == 2, "no echo of 1 before it"


def test_the_same_message_again_is_the_same_message(gateway):
    with Session(gateway, 31) as session:
        notes = session.create_direct(31)
        first = session.send(notes, "the-same", "once")
        again = session.send(notes, "the-same", "once")
        assert {**first, "request": 0} == {**again, "request": 0}
        assert session.send(notes, "another", "twice")["seq"] == 2


def test_catch_up_from_a_cursor_and_history(gateway):
    with Session(gateway, 41) as sender:
        conversation = sender.create_direct(42)
        for number in range(1, 131):
            assert sender.send(conversation, f"m{number}", f"message {number}")["seq"] == number
    with Session(gateway, 42, cursors=[(conversation, 120)]) as receiver:
        synced = receiver.next("synced")
        assert (synced["head_seq"], synced["has_more"]) == (130, False)
        assert [frame["seq"] for frame in receiver.said if frame["type"] == "deliver"] == list(range(121, 131))
    with Session(gateway, 42, device=2) as receiver:
        synced = receiver.next("synced")
        assert synced["has_more"] is True
        assert [frame["seq"] for frame in receiver.said if frame["type"] == "deliver"] == list(range(31, 131))
        page = receiver.ask(type="history", conversation=conversation, before_seq=31, limit=30)
        assert [message["seq"] for message in page["messages"]] == list(range(1, 31))
        assert page["has_more"] is False
        page = receiver.ask(type="history", conversation=conversation, after_seq=5, limit=2)
        assert [message["body"] for message in page["messages"]] == ["message 6", "message 7"]
        assert page["has_more"] is True


def test_received_moves_the_device_on(gateway):
    with Session(gateway, 51) as sender:
        conversation = sender.create_direct(52)
        for number in range(1, 4):
            sender.send(conversation, f"m{number}", f"message {number}")
        with Session(gateway, 52) as receiver:
            assert receiver.next("synced")["head_seq"] == 3
            receiver.say(type="received", conversation=conversation, up_to_seq=2)
            receiver.ask(type="ping")
        with Session(gateway, 52) as receiver:
            assert receiver.next("synced")["head_seq"] == 3
            assert [frame["seq"] for frame in receiver.said if frame["type"] == "deliver"] == [3]


def test_a_group_of_three(gateway):
    with Session(gateway, 61) as first, Session(gateway, 62) as second, Session(gateway, 63) as third:
        created = first.ask(type="create", kind="group", name="three", members=["62", "63"])
        conversation = created["conversation"]
        for seq, session in enumerate([first, second, third], start=1):
            assert session.send(conversation, f"m{seq}", f"message {seq}")["seq"] == seq
        assert [first.next("deliver")["seq"] for _ in range(2)] == [2, 3]
        assert [second.next("deliver")["seq"] for _ in range(2)] == [1, 3]
        assert [third.next("deliver")["seq"] for _ in range(2)] == [1, 2]


def test_opaque_bytes(gateway):
    with Session(gateway, 71) as phone, Session(gateway, 71, device=2) as laptop:
        notes = phone.create_direct(71)
        body = base64.b64encode(bytes(range(256))).decode()
        assert phone.send(notes, "opaque", body, kind="opaque")["type"] == "ack"
        deliver = laptop.next("deliver")
        assert (deliver["kind"], deliver["body"]) == ("opaque", body)


@pytest.mark.parametrize(
    "frame, code",
    [
        ({"type": "send"}, 400),
        ({"type": "send", "conversation": "x", "client_id": "a", "kind": "text", "body": "x"}, 400),
        ({"type": "history", "conversation": "x", "limit": 1}, 400),
        ({"type": "create", "kind": "nothing", "members": []}, 400),
    ],
)
def test_a_bad_frame_is_refused_and_the_session_goes_on(gateway, frame, code):
    with Session(gateway, 81) as session:
        error = session.ask(**frame)
        assert (error["type"], error["code"]) == ("error", code)
        assert error["retry_after_ms"] == 0 and len(error["message"]) > 10
        assert session.ask(type="ping")["type"] == "pong"


def test_a_stranger_learns_nothing(gateway):
    with Session(gateway, 91) as member, Session(gateway, 93) as stranger:
        foreign = member.create_direct(92)
        member.send(foreign, "private", "private")
        unknown = "01901234-5678-7abc-8def-0123456789ab"
        errors = []
        for conversation in (foreign, unknown):
            sent = stranger.send(conversation, "let-me-in", "let me in")
            asked = stranger.ask(type="history", conversation=conversation, limit=5)
            assert (sent["code"], asked["code"]) == (403, 403)
            errors.append([error["message"].replace(conversation, "") for error in (sent, asked)])
        assert errors[0] == errors[1]


def test_without_a_token_nobody_gets_in(gateway):
    with pytest.raises(InvalidStatus) as refused:
        connect(gateway.url)
    assert refused.value.response.status_code == 401
    with connect(f"{gateway.url}?token={gateway.token(95)}") as socket:
        assert "welcome" in socket.recv(timeout=30)


def test_the_same_device_again_replaces_the_first(gateway):
    with Session(gateway, 97) as first, Session(gateway, 97) as second:
        with pytest.raises(ConnectionClosed) as closed:
            first.next("nothing")
        assert closed.value.rcvd.code == 4409
        assert second.ask(type="ping")["type"] == "pong"
