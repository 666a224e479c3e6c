// Promise: the chat page shows every message once and in order, through reloads and through the death of the gateway.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { Browser, Gateway, Window } from "./world.js";

let gateway, browser;
before(async () => {
  gateway = await new Gateway().start();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await gateway?.remove();
});
// A refused connection, and the icon that nobody has drawn, are no faults of the page.
afterEach(() => {
  const complaints = browser.complaints.splice(0);
  assert.deepEqual(complaints.filter((text) => !/ERR_CONNECTION|Failed to fetch|ERR_EMPTY_RESPONSE/.test(text)), []);
});

test("two pages chat, and a reload keeps everything", async () => {
  const ada = await browser.enter(gateway, 1, "Ada");
  const bob = await browser.enter(gateway, 2, "Bob");
  await Promise.all([ada.connected(), bob.connected()]);
  await ada.talkTo("2");
  await ada.say("hello, Bob");
  await ada.isStored("hello, Bob");
  await bob.open("User 1");
  await bob.sees("hello, Bob");
  await bob.say("grüße 🌊");
  await ada.sees("grüße 🌊");
  await ada.page.reload();
  await ada.open("User 2");
  await ada.sees("grüße 🌊");
  assert.deepEqual(await ada.texts(), ["hello, Bob", "grüße 🌊"]);
  await bob.say("still there?");
  await ada.sees("still there?");
  assert.deepEqual(await ada.texts(), ["hello, Bob", "grüße 🌊", "still there?"]);
});

test("what others write is text, whatever it looks like", async () => {
  const [mallory, victim] = [await browser.enter(gateway, 11, "Mallory"), await browser.enter(gateway, 12, "Victim")];
  const attack = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';
  await mallory.talkTo("12");
  await mallory.say(attack);
  await victim.open("User 11");
  await victim.sees(attack);
  assert.equal(await victim.page.locator("#messages img, #messages script").count(), 0);
  assert.equal(await victim.page.title(), "Tidegate");
});

test("a group of three, a long history, and what was said while the gateway was dead", async () => {
  const ada = await browser.enter(gateway, 21, "Ada");
  await ada.talkTo("22, 23", "harbour pilots");
  for (let number = 1; number <= 120; number++) await ada.say(`message ${number}`);
  await ada.isStored("message 120");
  const bob = await browser.enter(gateway, 22, "Bob");
  await bob.open("User 21");
  await bob.sees("message 120");
  await bob.scrollUpTo("message 1");
  const all = Array.from({ length: 120 }, (_, at) => `message ${at + 1}`);
  assert.deepEqual(await bob.texts(), all);

  await gateway.kill();
  await Promise.all([ada.disconnected(), bob.disconnected()]);
  await ada.say("into the void");
  await ada.page.getByText("sending …").waitFor();
  await gateway.start();
  await Promise.all([ada.connected(), bob.connected()]);
  await bob.sees("into the void");
  await ada.isStored("into the void");
  await bob.say("it came once");
  await ada.sees("it came once");
  assert.deepEqual(await bob.texts(), [...all, "into the void", "it came once"]);
  assert.deepEqual((await ada.texts()).slice(-3), ["message 120", "into the void", "it came once"]);
});

test("what came while nobody looked waits in the list, and is complete when opened", async () => {
  const ada = await browser.enter(gateway, 51, "Ada");
  await ada.talkTo("52");
  await ada.say("number 1");
  const bob = await browser.enter(gateway, 52, "Bob");
  await bob.open("User 51");
  await bob.sees("number 1");
  const address = bob.page.url();
  await bob.page.goto("about:blank");
  // More than catch-up brings: the rest is history.
  for (let number = 2; number <= 131; number++) await ada.say(`number ${number}`);
  await ada.isStored("number 131");
  await bob.page.goto(address);
  await bob.page.getByLabel("130 unread").waitFor();
  assert.equal(await bob.page.title(), "(130) Tidegate");
  await bob.page.getByText("User 51: number 131").waitFor();
  await bob.open("User 51");
  await bob.scrollUpTo("number 1");
  assert.deepEqual(await bob.texts(), Array.from({ length: 131 }, (_, at) => `number ${at + 1}`));
});

test("the second device of a user gets what the first one says", async () => {
  const phone = await browser.enter(gateway, 31, "Eve", { viewport: { width: 390, height: 844 }, hasTouch: true });
  const laptop = await browser.enter(gateway, 31, "Eve");
  await laptop.connected();
  await phone.talkTo("31");
  await phone.say("milk, bread");
  await laptop.open("Notes to myself");
  await laptop.sees("milk, bread");
  await laptop.say("and salt");
  await phone.sees("and salt");
  assert.deepEqual(await phone.texts(), ["milk, bread", "and salt"]);
});

test("a gateway that has lost its data is believed, not the memory of the browser", async () => {
  const own = await new Gateway().start();
  try {
    const ada = await browser.enter(own, 1, "Ada");
    await ada.talkTo("2");
    for (const text of ["one", "two", "three"]) await ada.say(text);
    await ada.isStored("three");
    await own.kill();
    own.forget();
    await own.start();
    await ada.connected();
    await ada.say("to nobody");
    await ada.page.getByText("not a member").first().waitFor();
    await ada.page.getByRole("button", { name: "Discard" }).click();
    await ada.talkTo("2");
    await ada.page.locator("#messages p").first().waitFor({ state: "detached" });
    await ada.say("four");
    await ada.isStored("four");
    assert.deepEqual(await ada.texts(), ["four"]);
  } finally {
    await own.remove();
  }
});

test("with a login service of its own, the page takes a token; one device is connected once", async () => {
  const secret = "a secret of thirty-two bytes, at least";
  const own = await new Gateway(secret).start();
  try {
    const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
    const said = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: "41", device: "7", exp: 4_000_000_000 })}`;
    const token = `${said}.${createHmac("sha256", secret).update(said).digest("base64url")}`;
    const enter = async () => {
      const page = await browser.open(own);
      await page.getByRole("button", { name: "Use an access token" }).click();
      await page.getByLabel("Access token").fill(token);
      await page.getByLabel("Gateway").fill(`ws://${own.addresses.ws}/ws`);
      await page.getByRole("button", { name: "Enter" }).click();
      const window = new Window(page);
      await window.connected();
      return window;
    };
    const first = await enter();
    const second = await enter();
    await first.isState("connected elsewhere");
    await first.page.getByRole("button", { name: "Connect here" }).click();
    await first.connected();
    await second.isState("connected elsewhere");

    const stranger = await browser.enter(own, 5, "Eve");
    await stranger.page.getByRole("alert").getByText("Paste a token").waitFor();
    browser.complaints = browser.complaints.filter((text) => !/404.*\/dev\/token/.test(text));
  } finally {
    await own.remove();
  }
});
