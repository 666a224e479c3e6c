// The gateway as a process, and a chat session in JSON over `ws`. TIDEGATE_BIN names the binary.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";

const BINARY = process.env.TIDEGATE_BIN ?? fileURLToPath(new URL("../../target/release/tidegate", import.meta.url));
// `TIDEGATE_*` configures a gateway; ours are configured by their arguments alone.
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEGATE_")));
const PATIENCE_MS = 30_000;

export class Gateway {
  static async start(...extra) {
    const gateway = new Gateway();
    gateway.directory = mkdtempSync(join(tmpdir(), "tidegate-"));
    gateway.dataDir = join(gateway.directory, "data");
    const flags = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--shards", "2", "--data-dir", gateway.dataDir];
    gateway.process = spawn(BINARY, ["serve", ...flags, ...extra], {
      env: ENVIRONMENT,
      stdio: ["ignore", "pipe", "inherit"],
    });
    gateway.ended = new Promise((resolve) => gateway.process.once("exit", resolve));
    const lines = createInterface({ input: gateway.process.stdout });
    const line = await Promise.race([
      new Promise((resolve) => lines.once("line", resolve)),
      gateway.ended.then((code) => Promise.reject(new Error(`the gateway ended with ${code} before it was ready`))),
    ]);
    gateway.url = `ws://${JSON.parse(line).ws}/ws`;
    return gateway;
  }

  token(user, device = 1, ttl = "1h") {
    const flags = ["--user", `${user}`, "--device", `${device}`, "--ttl", ttl, "--data-dir", this.dataDir];
    const stdio = ["ignore", "pipe", "inherit"];
    return execFileSync(BINARY, ["token", ...flags], { encoding: "utf8", env: ENVIRONMENT, stdio }).trim();
  }

  async stop() {
    this.process.kill("SIGKILL");
    await this.ended;
    rmSync(this.directory, { recursive: true });
  }
}

export class Session {
  #waiting = [];
  #request = 0;
  unasked = [];

  /** Connected and welcomed; has said hello with these cursors. */
  static async open(gateway, user, { device = 1, protocols = [], cursors = [] } = {}) {
    const session = new Session();
    const headers = { Authorization: `Bearer ${gateway.token(user, device)}` };
    session.socket = new WebSocket(gateway.url, protocols, { headers, perMessageDeflate: false });
    session.socket.on("message", (data, isBinary) => {
      if (isBinary) throw new Error("binary on a JSON session");
      session.#take(JSON.parse(data));
    });
    session.closed = new Promise((resolve) => {
      session.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    await new Promise((resolve, reject) => {
      session.socket.once("open", resolve);
      session.socket.once("error", reject);
    });
    session.welcome = await session.next("welcome");
    session.say({ type: "hello", cursors });
    return session;
  }

  say(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  ask(frame) {
    const request = ++this.#request;
    this.say({ ...frame, request });
    return this.waitFor(`the answer to ${frame.type}`, (answer) => answer.request === request);
  }

  next(type) {
    return this.waitFor(type, (frame) => frame.type === type);
  }

  waitFor(what, matches) {
    const at = this.unasked.findIndex(matches);
    if (at >= 0) return Promise.resolve(this.unasked.splice(at, 1)[0]);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
      this.#waiting.push({ matches, resolve: (frame) => { clearTimeout(timer); resolve(frame); } });
    });
  }

  async createDirect(other) {
    const created = await this.ask({ type: "create", kind: "direct", members: [`${other}`] });
    return created.conversation;
  }

  send(conversation, client_id, body, kind = "text") {
    return this.ask({ type: "send", conversation, client_id, kind, body });
  }

  async close() {
    this.socket.close(1000);
    return this.closed;
  }

  #take(frame) {
    const at = this.#waiting.findIndex(({ matches }) => matches(frame));
    if (at < 0) this.unasked.push(frame);
    else this.#waiting.splice(at, 1)[0].resolve(frame);
  }
}
