// A gateway as a process, and browser windows that look at its chat page.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

// `TIDEGATE_*` configures a gateway; ours are configured by their arguments alone.
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEGATE_")));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE_MS = 60_000;

export class Gateway {
  /** `secret`: a configured one, of at least 32 bytes. */
  constructor(secret) {
    this.environment = secret ? { ...ENVIRONMENT, TIDEGATE_TOKEN_SECRET: secret } : ENVIRONMENT;
    this.directory = mkdtempSync(join(tmpdir(), "tidegate-page-"));
    this.addresses = { ws: "127.0.0.1:0", http: "127.0.0.1:0" };
  }

  /** Again on the same addresses, if it ran before. */
  async start() {
    const { ws, http } = this.addresses;
    const flags = ["--listen", ws, "--http", http, "--shards", "2", "--data-dir", join(this.directory, "data")];
    this.process = spawn(process.env.TIDEGATE_BIN, ["serve", ...flags], {
      env: this.environment,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.ended = new Promise((resolve) => this.process.once("exit", resolve));
    const lines = createInterface({ input: this.process.stdout });
    const line = await Promise.race([
      new Promise((resolve) => lines.once("line", resolve)),
      this.ended.then((code) => Promise.reject(new Error(`the gateway ended with ${code} before it was ready`))),
    ]);
    this.addresses = JSON.parse(line);
    return this;
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  /** The next start knows nothing any more. */
  forget() {
    rmSync(join(this.directory, "data"), { recursive: true });
  }

  async remove() {
    await this.kill();
    rmSync(this.directory, { recursive: true });
  }
}

export class Browser {
  /** What any page logged as an error or threw. */
  complaints = [];

  static async start() {
    const browser = new Browser();
    const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"];
    browser.chromium = await chromium.launch({ executablePath: CHROMIUM, headless: true, args });
    return browser;
  }

  /** A window with storage of its own, in which this user has entered. */
  async enter(gateway, user, name, options) {
    const page = await this.open(gateway, options);
    await page.getByLabel("Your number").fill(`${user}`);
    await page.getByLabel("Your name").fill(name);
    await page.getByRole("button", { name: "Enter" }).click();
    return new Window(page);
  }

  async open(gateway, options = {}) {
    const context = await this.chromium.newContext({ locale: "en-GB", timezoneId: "UTC", ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(`${message.text()} ${message.location().url}`);
    });
    await page.goto(`http://${gateway.addresses.http}/`);
    return page;
  }

  stop() {
    return this.chromium.close();
  }
}

export class Window {
  constructor(page) {
    this.page = page;
  }

  async talkTo(numbers, group) {
    await this.page.getByLabel("Talk to").fill(numbers);
    if (group) await this.page.getByLabel("Name of the group").fill(group);
    await this.page.getByRole("button", { name: "Start" }).click();
    await this.page.getByLabel("Message", { exact: true }).waitFor();
  }

  async open(name) {
    await this.page.getByRole("listitem").getByRole("button", { name }).click();
    await this.page.getByLabel("Message", { exact: true }).waitFor();
  }

  async say(text) {
    const box = this.page.getByLabel("Message", { exact: true });
    await box.fill(text);
    await box.press("Enter");
  }

  /** Waits until the line under our name says so. */
  isState(text) {
    return this.page.locator("#state", { hasText: text }).waitFor();
  }

  connected() {
    return this.isState(/^connected$/);
  }

  disconnected() {
    return this.isState("not connected");
  }

  /** Waits until this text stands in the conversation. */
  sees(text) {
    return this.page.locator("#messages p").getByText(text, { exact: true }).waitFor();
  }

  /** Waits until our own message is marked as stored. */
  isStored(text) {
    const message = this.page.locator("#messages li.mine").filter({ has: this.page.getByText(text, { exact: true }) });
    return message.getByLabel("stored").waitFor();
  }

  /** Further up is fetched when somebody looks there. */
  async scrollUpTo(text) {
    while (!(await this.texts()).includes(text)) {
      const before = (await this.texts()).length;
      await this.page.locator("#scroller").evaluate((scroller) => { scroller.scrollTop = 0; });
      await this.page.waitForFunction((count) => document.querySelectorAll("#messages p").length > count, before);
    }
  }

  /** Everything in the open conversation, top to bottom. */
  texts() {
    return this.page.locator("#messages p").allTextContents();
  }
}
