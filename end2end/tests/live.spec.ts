// A page that is open: it changes by itself where nothing moves under the reader, offers its news where rows would, keeps
// what the reader does, and says when nobody is logged in any more.
import { deliver, plantLine, sql, testEvent } from "../database";
import { alive, expect, open, test } from "../fixtures";
import type { Page } from "@playwright/test";

const SHOW = { name: "Something changed. Show it" };
const recent = (page: Page) => page.locator("section:has(#recent) tbody");
const newest = (page: Page) => recent(page).locator("a").first().getAttribute("href");

test("the overview changes by itself, and what has the focus, was opened or scrolled stays as it is", async ({ page, request, baseURL }) => {
  await open(page, "/admin");
  await expect(page.locator(".live-state")).toHaveText("Live");
  await expect(page.locator(".live")).toContainText("updates at once");
  await page.locator("section:has(#trend) .twin summary").click();
  const range = page.getByRole("link", { name: "90 days" });
  await range.focus();
  // The element itself must survive: a copy in its place would have lost more than its focus.
  await range.evaluate((link) => link.setAttribute("tabindex", "0"));
  const before = await newest(page);
  await testEvent(request, baseURL);
  await expect.poll(() => newest(page)).not.toBe(before);
  await expect(range).toBeFocused();
  await expect(range).toHaveAttribute("tabindex", "0");
  await expect(page.locator("section:has(#trend) .twin")).toHaveAttribute("open", "");
  await expect(page.getByRole("button", SHOW)).toHaveCount(0);
});

test("after a change of page the heading keeps the focus while the page goes on changing", async ({ page, request, baseURL }) => {
  await open(page, "/clients");
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Overview" }).click();
  const heading = page.getByRole("heading", { level: 1, name: "Data quality" });
  await expect(heading).toBeFocused();
  const before = await newest(page);
  await testEvent(request, baseURL);
  await expect.poll(() => newest(page)).not.toBe(before);
  await expect(heading).toBeFocused();
});

test("rows do not move under the pointer: news are offered, and shown once it has left", async ({ page, request, baseURL }) => {
  await open(page, "/admin");
  await recent(page).locator("tr").first().hover();
  // What was on its way when the pointer came may still arrive.
  await page.waitForTimeout(1500);
  const before = await newest(page);
  await testEvent(request, baseURL);
  await expect(page.getByRole("button", SHOW)).toBeVisible();
  expect(await newest(page)).toBe(before);
  await page.getByRole("heading", { level: 1 }).hover();
  await expect.poll(() => newest(page)).not.toBe(before);
  await expect(page.getByRole("button", SHOW)).toHaveCount(0);
});

test("news that are shown by hand hand the focus to the heading", async ({ page, request, baseURL }) => {
  await open(page, "/admin/jobs");
  await expect(page.locator(".live")).toContainText("updates on request");
  await testEvent(request, baseURL);
  await page.getByRole("button", SHOW).click();
  await expect(page.getByRole("heading", { level: 1, name: "Jobs" })).toBeFocused();
});

test("news that wait a second time are said a second time", async ({ page, request, baseURL }) => {
  type Heard = { ahead: number; said: string[] };
  await page.addInitScript(() => {
    const heard: Heard = { ahead: 0, said: [] };
    // The clock can be put forward, because news are said every half minute at most.
    const now = Date.now;
    Date.now = () => now() + heard.ahead;
    new MutationObserver((list) => {
      for (const { target } of list) {
        const line = (target instanceof Element ? target : target.parentElement)?.closest("p[role=status]");
        if (line) heard.said.push(line.textContent ?? "");
      }
    }).observe(document, { subtree: true, childList: true, characterData: true });
    Object.assign(window, { heard });
  });
  await open(page, "/admin/connections");
  await expect(page.locator(".live-state")).toHaveText("Live");
  const said = () => page.evaluate(() => (window as unknown as { heard: Heard }).heard.said.filter((text) => text.startsWith("Something changed")).length);
  const show = page.getByRole("button", SHOW);
  await testEvent(request, baseURL);
  await expect.poll(said).toBeGreaterThan(0);
  const before = await said();
  await page.evaluate(() => { (window as unknown as { heard: Heard }).heard.ahead = 31_000; });
  // Again and again, should others' news come between: what is offered already is not said anew.
  await expect(async () => {
    if (await show.count()) await show.click();
    await expect(show).toHaveCount(0, { timeout: 1_000 });
    await testEvent(request, baseURL);
    await expect.poll(said, { timeout: 3_000 }).toBeGreaterThan(before);
  }).toPass();
});

test("a person's page hears of a connection that ends", async ({ page, request, baseURL }) => {
  const person = `leaving-${Date.now()}`;
  await testEvent(request, baseURL, "auth", { userId: person });
  const connection = () => sql(`SELECT terra_user_id FROM connections WHERE user_id = '${person}'`);
  await expect.poll(connection).not.toBe("");
  await open(page, `/clients/${person}`);
  const list = page.getByRole("list", { name: "Connections" });
  await expect(list).toContainText("active");
  await expect(page.locator(".live-state")).toHaveText("Live");
  await deliver(request, baseURL, { type: "deauth", status: "success", user: { user_id: connection(), provider: "WHOOP", reference_id: person } });
  await expect(list).toContainText("deauthorised");
});

test("a person's activity is followed", async ({ page, request, baseURL }) => {
  const person = `active-${Date.now()}`;
  await testEvent(request, baseURL, "auth", { userId: person });
  await expect.poll(() => sql(`SELECT count(*) FROM connections WHERE user_id = '${person}'`)).toBe("1");
  await open(page, `/clients/${person}?tab=activity`);
  await expect(page.locator(".live")).toContainText("updates every 2 s");
  plantLine("planted while somebody looks", person);
  await expect(page.getByRole("region", { name: "Log", exact: true })).toContainText("planted while somebody looks");
});

test("a page is offered the news that concern it and no others", async ({ page, request, baseURL }) => {
  for (const path of ["/admin/settings", "/admin/trainers", "/admin/calibration"]) {
    await open(page, path);
    await expect(page.locator(".live"), path).toHaveCount(0);
  }
  await testEvent(request, baseURL);
  await page.waitForTimeout(2000);
  await expect(page.getByRole("button", SHOW)).toHaveCount(0);
  // The same document goes on to a list, and listens.
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Webhooks" }).click();
  await expect(page.locator(".live-state")).toHaveText("Live");
  await testEvent(request, baseURL, "body");
  await expect(page.getByRole("button", SHOW)).toBeVisible();
});

test("a log that is followed grows, and keeps what is being typed", async ({ page, request, baseURL }) => {
  await open(page, "/admin/logs?follow=on");
  await expect(page.locator(".live")).toContainText("updates every 2 s");
  await page.getByLabel("Search").fill("half a wo");
  const first = () => page.locator("tbody time").first().getAttribute("datetime");
  const before = await first();
  await testEvent(request, baseURL);
  await expect.poll(first, { timeout: 20_000 }).not.toBe(before);
  await expect(page.getByLabel("Search")).toBeFocused();
  await expect(page.getByLabel("Search")).toHaveValue("half a wo");
});

test.describe("answers that fail", () => {
  // The browser writes a line about each.
  test.use({ allowStatusLine: true });

  test("a list that failed to come anew stays, with the reason above it, and comes back by itself", async ({ page }) => {
    await open(page, "/admin/logs?follow=on");
    await expect(page.locator("tbody tr").first()).toBeVisible();
    await page.route("**/_fn/page*", (route) => route.fulfill({ status: 503, contentType: "application/json",
      headers: { serverfnerror: "/_fn/page" }, body: JSON.stringify({ kind: "unavailable", message: "The database does not answer just now." }) }));
    const problem = page.locator(".alert.bad");
    await expect(problem).toContainText(/What you see is as of .+ The database does not answer just now/);
    await expect(page.locator("tbody tr").first()).toBeVisible();
    await page.unroute("**/_fn/page*");
    await expect(problem).toHaveCount(0);
  });

  test("a session that ended is said at once, with the way back, and what was shown stays", async ({ browser, baseURL }) => {
    test.setTimeout(90_000);
    const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
    const page = await context.newPage();
    await page.goto("/login?next=/admin/jobs");
    await alive(page);
    await page.getByLabel("E-mail address").fill(process.env.ASSAY_ADMIN_EMAIL!);
    await page.getByLabel("Password").fill(process.env.ASSAY_ADMIN_PASSWORD!);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForURL("**/admin/jobs");
    await alive(page);
    await expect(page.locator(".live-state")).toHaveText("Live");
    // The newest session is this one.
    sql("DELETE FROM login_sessions WHERE created_at = (SELECT max(created_at) FROM login_sessions)");
    await expect(page.locator(".live-state")).toHaveText("Your session has ended", { timeout: 45_000 });
    await expect(page.getByRole("link", { name: "Log in again" })).toHaveAttribute("href", /^\/login\?.*next=%2Fadmin%2Fjobs/);
    await expect(page.getByRole("heading", { level: 1, name: "Jobs" })).toBeVisible();
    await page.getByRole("link", { name: "Log in again" }).click();
    await expect(page.locator(".alert")).toContainText("Your session has ended");
    await context.close();
  });
});
