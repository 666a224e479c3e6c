// Promise: a client in another language, over JSON text, chats, catches up and is told what it did wrong.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { Gateway, Session } from "./gateway.js";

let gateway;
before(async () => { gateway = await Gateway.start(); });
after(() => gateway.stop());

const seqs = (frames) => frames.filter(({ type }) => type === "deliver").map(({ seq }) => seq);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

for (const protocols of [[], ["tidegate.v1.json"]]) {
  test(`two users chat, offering [${protocols}]`, async () => {
    const [firstUser, secondUser] = protocols.length ? [11, 12] : [13, 14];
    const first = await Session.open(gateway, firstUser, { protocols });
    const second = await Session.open(gateway, secondUser, { protocols });
    assert.equal(first.welcome.user, `${firstUser}`);
    assert.equal(first.socket.protocol, protocols[0] ?? "");
    const conversation = await first.createDirect(secondUser);
    const ack = await first.send(conversation, "01HW3M9XVZ8T3B4Q5R6S7T8V9W", "hello");
    assert.deepEqual([ack.type, ack.seq, ack.client_id], ["ack", 1, "01HW3M9XVZ8T3B4Q5R6S7T8V9W"]);
    const deliver = await second.next("deliver");
    assert.deepEqual([deliver.body, deliver.sender, deliver.seq], ["hello", `${firstUser}`, 1]);
    assert.equal(deliver.message_id, ack.message_id);
    assert.ok(BigInt(ack.message_id) > 0n, "ids are strings, they do not fit a number");
    assert.equal((await second.send(conversation, "answer", "grüße 🌊")).seq, 2);
    assert.equal((await first.next("deliver")).body, "grüße 🌊");
    assert.deepEqual(first.unasked, [], "no echo, nothing unasked");
    await first.close();
    const { code } = await second.close();
    assert.equal(code, 1000);
  });
}

test("the sender's second device receives, the sending session does not", async () => {
  const phone = await Session.open(gateway, 21, { device: 1 });
  const laptop = await Session.open(gateway, 21, { device: 2 });
  const other = await Session.open(gateway, 22);
  const conversation = await phone.createDirect(22);
  await phone.send(conversation, "from-phone", "from the phone");
  assert.equal((await laptop.next("deliver")).seq, 1);
  assert.equal((await other.next("deliver")).seq, 1);
  await other.send(conversation, "an-answer", "an answer");
  assert.equal((await phone.next("deliver")).seq, 2, "no echo of 1 before it");
  await Promise.all([phone.close(), laptop.close(), other.close()]);
});

test("five hundred messages without waiting arrive once and in order", async () => {
  const sender = await Session.open(gateway, 31);
  const receiver = await Session.open(gateway, 32);
  const conversation = await sender.createDirect(32);
  const acks = await Promise.all(range(1, 500).map((n) => sender.send(conversation, `m${n}`, `message ${n}`)));
  assert.deepEqual(acks.map(({ seq }) => seq), range(1, 500), "in the order in which they were sent");
  const received = [];
  while (received.length < 500) received.push(await receiver.next("deliver"));
  assert.deepEqual(seqs(received), range(1, 500));
  assert.deepEqual(received.map(({ body }) => body), range(1, 500).map((n) => `message ${n}`));
  await Promise.all([sender.close(), receiver.close()]);
});

test("the same message again is the same message", async () => {
  const session = await Session.open(gateway, 41);
  const notes = await session.createDirect(41);
  const first = await session.send(notes, "the-same", "once");
  const again = await session.send(notes, "the-same", "once");
  assert.deepEqual({ ...first, request: 0 }, { ...again, request: 0 });
  assert.equal((await session.send(notes, "another", "twice")).seq, 2);
  await session.close();
});

test("catch-up from a cursor, and history for what is before", async () => {
  const sender = await Session.open(gateway, 51);
  const conversation = await sender.createDirect(52);
  await Promise.all(range(1, 130).map((n) => sender.send(conversation, `m${n}`, `message ${n}`)));
  const near = await Session.open(gateway, 52, { cursors: [{ conversation, last_seq: 120 }] });
  const synced = await near.next("synced");
  assert.deepEqual([synced.conversation, synced.head_seq, synced.has_more], [conversation, 130, false]);
  assert.deepEqual(seqs(near.unasked), range(121, 130));
  const far = await Session.open(gateway, 52, { device: 2, cursors: [{ conversation, last_seq: 10 }] });
  assert.equal((await far.next("synced")).has_more, true);
  assert.deepEqual(seqs(far.unasked), range(31, 130));
  const page = await far.ask({ type: "history", conversation, before_seq: 31, limit: 20 });
  assert.deepEqual([page.messages.map(({ seq }) => seq), page.has_more], [range(11, 30), true]);
  await Promise.all([sender.close(), near.close(), far.close()]);
});

test("a bad frame is refused and the session goes on", async () => {
  const session = await Session.open(gateway, 61);
  for (const text of ["", "{", "[]", "42", '{"type":"send"}', '{"type":"create","kind":"crowd","members":[]}']) {
    session.socket.send(text);
    const error = await session.next("error");
    assert.equal(error.code, 400, text);
    assert.ok(error.message.length > 10, text);
  }
  assert.equal((await session.ask({ type: "ping" })).type, "pong");
  await session.close();
});

test("a stranger cannot tell a foreign conversation from none", async () => {
  const member = await Session.open(gateway, 71);
  const stranger = await Session.open(gateway, 73);
  const foreign = await member.createDirect(72);
  await member.send(foreign, "private", "private");
  const errors = [];
  for (const conversation of [foreign, "01901234-5678-7abc-8def-0123456789ab"]) {
    const error = await stranger.send(conversation, "let-me-in", "let me in");
    assert.deepEqual([error.type, error.code], ["error", 403]);
    errors.push(error.message.replace(conversation, ""));
  }
  assert.equal(errors[0], errors[1]);
  await Promise.all([member.close(), stranger.close()]);
});

test("binary on a JSON session closes with 1003", async () => {
  const session = await Session.open(gateway, 81);
  session.socket.send(Buffer.alloc(16));
  assert.equal((await session.closed).code, 1003);
});

test("without a token nobody gets in", async () => {
  const socket = new WebSocket(gateway.url);
  const error = await new Promise((resolve) => { socket.once("error", resolve); });
  assert.match(error.message, /401/);
});
