"""Promise: the gateway's WebSocket follows RFC 6455, in the cases of the well-known Autobahn list, over `tidegate.echo`.

Numbers in the names are those of that list.
"""

import struct

import pytest
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, close, encode, fragments

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def token(echo_gateway):
    return echo_gateway.token(1)


@pytest.fixture
def echo(echo_gateway, token):
    with Raw(echo_gateway, token) as raw:
        yield raw
    # Whatever this one did, the next one is served.
    with Raw(echo_gateway, token) as other:
        other.send(encode(TEXT, b"still here"))
        assert other.message() == (TEXT, b"still here")


def assert_closes_cleanly(echo):
    echo.send(close(1000))
    assert echo.closed() == ([], 1000)


# 1: framing

SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode, unit", [(TEXT, b"*"), (BINARY, b"\xfe")], ids=["text", "binary"])
def test_1_a_message_of_each_length_form(echo, opcode, unit, size):
    echo.send(encode(opcode, unit * size))
    assert echo.message() == (opcode, unit * size)
    assert_closes_cleanly(echo)


@pytest.mark.parametrize("chop", [1, 2, 13, 997])
@pytest.mark.parametrize("size", [127, 4000])
def test_1_a_message_in_small_writes(echo, size, chop):
    echo.send(encode(TEXT, b"*" * size), chop=chop)
    assert echo.message() == (TEXT, b"*" * size)


def test_1_two_hundred_messages_in_one_write(echo):
    bodies = [b"x" * (at % 300) for at in range(200)]
    echo.send(b"".join(encode(BINARY, body) for body in bodies))
    assert [echo.message() for _ in bodies] == [(BINARY, body) for body in bodies]


@pytest.mark.parametrize(
    "head",
    [bytes([0x82, 0xFE, 0, 125]), bytes([0x82, 0xFF]) + struct.pack(">Q", 65535), bytes([0x82, 0xFF]) + b"\xff" * 8],
    ids=["125 in two bytes", "65535 in eight", "the highest bit set"],
)
def test_1_a_length_in_a_wrong_form(echo, head):
    echo.send(head + b"\0\0\0\0")
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION])
def test_1_an_unmasked_frame(echo, opcode):
    echo.send(encode(opcode, masked=False))
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4"])
@pytest.mark.parametrize("size", [3, 64, 1021])
def test_1_any_masking_key(echo, key, size):
    body = bytes(at % 251 for at in range(size))
    echo.send(encode(BINARY, body, key=key))
    assert echo.message() == (BINARY, body)


# 2: pings and pongs


@pytest.mark.parametrize("body", [b"", b"hello", bytes([0, 255, 254, 253, 0]), b"\xfe" * 125])
def test_2_a_ping_is_answered_with_its_payload(echo, body):
    echo.send(encode(PING, body))
    assert echo.frame() == (True, PONG, body)
    assert_closes_cleanly(echo)


def test_2_a_ping_byte_by_byte(echo):
    echo.send(encode(PING, b"\xfe" * 125), chop=1)
    assert echo.frame() == (True, PONG, b"\xfe" * 125)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_2_a_control_frame_of_126_bytes(echo, opcode):
    echo.send(encode(opcode, b"\x03\xe8" + b"x" * 124))
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("body", [b"", b"unsolicited"])
def test_2_an_unsolicited_pong_is_ignored(echo, body):
    echo.send(encode(PONG, body) + encode(PING, b"after"))
    assert echo.frame() == (True, PONG, b"after")
    assert_closes_cleanly(echo)


@pytest.mark.parametrize("chop", [None, 1])
def test_2_ten_pings_ten_pongs_in_order(echo, chop):
    echo.send(b"".join(encode(PING, b"payload-%d" % at) for at in range(10)), chop=chop)
    assert [echo.frame() for _ in range(10)] == [(True, PONG, b"payload-%d" % at) for at in range(10)]


# 3: reserved bits


@pytest.mark.parametrize("reserved", range(1, 8))
def test_3_reserved_bits(echo, reserved):
    echo.send(encode(TEXT, b"before") + encode(TEXT, b"x", reserved=reserved) + encode(PING))
    assert echo.closed() == ([(TEXT, b"before")], 1002)


@pytest.mark.parametrize("opcode", [BINARY, PING, CLOSE])
def test_3_reserved_bits_of_other_frames(echo, opcode):
    echo.send(encode(opcode, reserved=4))
    assert echo.closed() == ([], 1002)


# 4: reserved opcodes


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("body", [b"", b"reserved"])
def test_4_reserved_opcodes(echo, opcode, body):
    echo.send(encode(TEXT, b"before") + encode(opcode, body) + encode(PING))
    assert echo.closed() == ([(TEXT, b"before")], 1002)


# 5: fragmentation


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_5_fragmented_control_frames(echo, opcode):
    echo.send(encode(opcode, b"\x03\xe8", fin=False) + encode(CONTINUATION, b"more"))
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("chop", [None, 1])
def test_5_two_fragments(echo, opcode, chop):
    echo.send(b"".join(fragments(opcode, [b"fragment1", b"fragment2"])), chop=chop)
    assert echo.message() == (opcode, b"fragment1fragment2")


@pytest.mark.parametrize("chop", [None, 1])
def test_5_a_ping_between_fragments_is_answered_at_once(echo, chop):
    first, second = fragments(TEXT, [b"fragment1", b"fragment2"])
    echo.send(first + encode(PING, b"between"), chop=chop)
    assert echo.frame() == (True, PONG, b"between")
    echo.send(second, chop=chop)
    assert echo.message() == (TEXT, b"fragment1fragment2")


def test_5_pings_between_all_of_many_fragments(echo):
    parts = fragments(TEXT, [b"%d," % at for at in range(50)])
    echo.send(b"".join(part + encode(PING, b"%d" % at) for at, part in enumerate(parts[:-1])) + parts[-1])
    assert [echo.frame() for _ in range(49)] == [(True, PONG, b"%d" % at) for at in range(49)]
    assert echo.message() == (TEXT, b"".join(b"%d," % at for at in range(50)))


@pytest.mark.parametrize("parts", [[b"", b"", b""], [b"", b"middle", b""], [b"start", b"", b"end"], [b"", b"end"]])
def test_5_empty_fragments(echo, parts):
    echo.send(b"".join(fragments(TEXT, parts)))
    assert echo.message() == (TEXT, b"".join(parts))


@pytest.mark.parametrize("fin", [True, False])
def test_5_a_continuation_of_nothing(echo, fin):
    echo.send(encode(CONTINUATION, b"of nothing", fin=fin) + encode(TEXT, b"x"))
    assert echo.closed() == ([], 1002)


def test_5_a_continuation_after_the_end(echo):
    echo.send(b"".join(fragments(TEXT, [b"one", b"two"])) + encode(CONTINUATION, b"three"))
    assert echo.closed() == ([(TEXT, b"onetwo")], 1002)


@pytest.mark.parametrize("second", [TEXT, BINARY])
def test_5_a_message_within_a_message(echo, second):
    echo.send(encode(TEXT, b"one", fin=False) + encode(second, b"two"))
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("count", [1_000, 20_000, 100_000])
def test_5_fragments_without_a_cap(echo, count):
    echo.send(b"".join(fragments(BINARY, [b"x"] * count)))
    assert echo.message() == (BINARY, b"x" * count)


def test_5_a_hundred_thousand_empty_fragments(echo):
    echo.send(b"".join(fragments(TEXT, [b"a"] + [b""] * 100_000 + [b"z"])))
    assert echo.message() == (TEXT, b"az")


# 6: UTF-8

VALID = {
    "greek": "κόσμε",
    "accents": "Hello-µ@ßöäüàá-UTF-8!!",
    "first of 1": "\0",
    "first of 2": "\u0080",
    "first of 3": "\u0800",
    "first of 4": "\U00010000",
    "last of 1": "\u007f",
    "last of 2": "\u07ff",
    "last of 3": "\uffff",
    "last of all": "\U0010ffff",
    "below the surrogates": "\ud7ff",
    "above the surrogates": "\ue000",
    "replacement": "\ufffd",
    "non-characters": "\ufffe\U0001fffe\U0001ffff\U0010fffe",
    "emoji of many": "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
}

INVALID = {
    "continuation alone": b"\x80",
    "last continuation alone": b"\xbf",
    "many continuations": bytes(range(0x80, 0xC0)),
    "2-byte start alone": b"\xc2 ",
    "3-byte start alone": b"\xe0 ",
    "4-byte start alone": b"\xf0 ",
    "5-byte start": b"\xf8\x88\x80\x80\x80",
    "6-byte start": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "overlong slash of 2": b"\xc0\xaf",
    "overlong slash of 3": b"\xe0\x80\xaf",
    "overlong slash of 4": b"\xf0\x80\x80\xaf",
    "overlong zero": b"\xc0\x80",
    "largest overlong of 2": b"\xc1\xbf",
    "largest overlong of 3": b"\xe0\x9f\xbf",
    "largest overlong of 4": b"\xf0\x8f\xbf\xbf",
    "first surrogate": b"\xed\xa0\x80",
    "last surrogate": b"\xed\xbf\xbf",
    "pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "above the last": b"\xf4\x90\x80\x80",
    "kosme and a surrogate": "κόσμε".encode() + b"\xed\xa0\x80edited",
    "cut within 2": b"x\xc3",
    "cut within 3": b"x\xe2\x82",
    "cut within 4": b"x\xf0\x9f\x8c",
}


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
@pytest.mark.parametrize("way", ["whole", "fragments of a byte", "writes of a byte"])
def test_6_valid(echo, text, way):
    body = text.encode()
    if way == "fragments of a byte":
        echo.send(b"".join(fragments(TEXT, [body[at : at + 1] for at in range(len(body))])))
    else:
        echo.send(encode(TEXT, body), chop=1 if way == "writes of a byte" else None)
    assert echo.message() == (TEXT, body)
    assert_closes_cleanly(echo)


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
@pytest.mark.parametrize("way", ["whole", "fragments of a byte", "writes of a byte"])
def test_6_invalid(echo, body, way):
    if way == "fragments of a byte":
        echo.send(b"".join(fragments(TEXT, [body[at : at + 1] for at in range(len(body))])))
    else:
        echo.send(encode(TEXT, body), chop=1 if way == "writes of a byte" else None)
    assert echo.closed() == ([], 1007)


@pytest.mark.parametrize("body", [b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"])
def test_6_4_it_fails_before_the_message_is_whole(echo, body):
    echo.send(encode(TEXT, "κόσμε".encode(), fin=False) + encode(CONTINUATION, body, fin=False))
    assert echo.closed() == ([], 1007)


def test_6_4_it_fails_before_the_frame_is_whole(echo):
    echo.send(encode(TEXT, b"\xf4\x90\x80\x80" + b"x" * 1000)[:100])
    assert echo.closed() == ([], 1007)


def test_6_invalid_utf8_is_fine_in_binary(echo):
    body = b"".join(INVALID.values())
    echo.send(encode(BINARY, body))
    assert echo.message() == (BINARY, body)


# 7: closing


def test_7_a_close_after_a_message(echo):
    echo.send(encode(TEXT, b"hello") + close(1000))
    assert echo.closed() == ([(TEXT, b"hello")], 1000)


def test_7_what_comes_after_a_close_is_ignored(echo):
    echo.send(close(1000) + encode(TEXT, b"too late") + encode(PING) + close(1001))
    assert echo.closed() == ([], 1000)


def test_7_a_close_between_fragments(echo):
    echo.send(encode(TEXT, b"half", fin=False) + close(1000) + encode(CONTINUATION, b"rest"))
    assert echo.closed() == ([], 1000)


def test_7_a_large_message_then_a_close(echo):
    body = b"x" * (256 * 1024)
    echo.send(encode(BINARY, body) + close(1000))
    assert echo.message() == (BINARY, body)
    assert echo.closed() == ([], 1000)


def test_7_a_close_without_a_code(echo):
    echo.send(encode(CLOSE))
    assert echo.closed() in [([], 1005), ([], 1000)]


def test_7_a_close_of_one_byte(echo):
    echo.send(encode(CLOSE, b"\x03"))
    assert echo.closed() == ([], 1002)


@pytest.mark.parametrize("reason", [b"", b"Hello World!", "grüße".encode(), b"*" * 123])
def test_7_a_close_with_a_reason(echo, reason):
    echo.send(close(1000, reason))
    assert echo.closed() == ([], 1000)


def test_7_a_close_reason_that_is_not_utf8(echo):
    echo.send(close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"))
    assert echo.closed() == ([], 1007)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_7_codes_that_may_be_sent(echo, code):
    echo.send(close(code))
    assert echo.closed() == ([], code)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_7_codes_that_must_not_be_sent(echo, code):
    echo.send(close(code))
    assert echo.closed() == ([], 1002)


def test_7_a_peer_that_just_goes_away(echo_gateway, token):
    for _ in range(20):
        with Raw(echo_gateway, token) as raw:
            raw.send(encode(TEXT, b"half a message", fin=False))


# 9: limits


@pytest.mark.parametrize("size", [64 * 1024, 256 * 1024, MIB, 4 * MIB, 8 * MIB, 16 * MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_9_large_messages(echo, opcode, size):
    body = b"0123456789abcdef" * (size // 16)
    echo.send(encode(opcode, body))
    answered, echoed = echo.message()
    assert answered == opcode
    assert echoed == body


@pytest.mark.parametrize("part", [64, 256, 1024, 4096, 65536, MIB])
def test_9_four_mebibytes_in_fragments(echo, part):
    body = b"0123456789abcdef" * (4 * MIB // 16)
    echo.send(b"".join(fragments(TEXT, [body[at : at + part] for at in range(0, len(body), part)])))
    answered, echoed = echo.message()
    assert answered == TEXT
    assert echoed == body


@pytest.mark.parametrize("chop", [64, 1024])
def test_9_a_mebibyte_in_small_writes(echo, chop):
    body = b"0123456789abcdef" * (MIB // 16)
    echo.send(encode(BINARY, body), chop=chop)
    assert echo.message()[1] == body


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_9_one_byte_more_than_sixteen_mebibytes(echo, opcode):
    echo.send(encode(opcode, b"x" * (16 * MIB + 1))[:14])
    assert echo.closed() == ([], 1009)


def test_9_more_than_sixteen_mebibytes_in_fragments(echo):
    echo.send(b"".join(encode(TEXT if at == 0 else CONTINUATION, b"x" * MIB, fin=False) for at in range(17)))
    assert echo.closed() == ([], 1009)


def test_9_a_thousand_round_trips(echo):
    for at in range(1000):
        body = b"%d" % at
        echo.send(encode(TEXT, body))
        assert echo.message() == (TEXT, body)
