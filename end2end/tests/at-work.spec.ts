// A page that comes again while the reader is at work in it: what was typed, chosen or focused stays with what it is about,
// rows stay where the pointer is, and what has to wait says so.
import { plantLine, sql, testEvent } from "../database";
import { expect, open, test } from "../fixtures";
import type { Page } from "@playwright/test";

/** The button that shows what waits, whatever it says. */
const show = (page: Page) => page.locator(".news button");
const WAITS = "waits while you are at work";

test("a note stays with the value it is about when a newer doubt comes before it", async ({ page, request, baseURL }) => {
  const person = `doubted-${Date.now()}`;
  const day = (back: number) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);
  const [older, newer] = [day(4), day(2)];
  for (const date of [older, newer]) await testEvent(request, baseURL, "daily", { userId: person, date });
  const scored = () => sql(`SELECT count(DISTINCT measurement_date) FROM metric_confidence_cache WHERE user_id = '${person}'`);
  await expect.poll(scored, { timeout: 30_000 }).toBe("2");
  // What the scorer itself may doubt in a person without a past is not what this is about.
  sql(`UPDATE metric_confidence_cache SET findings = '[]' WHERE user_id = '${person}'`);
  const metric = sql(`SELECT metric_name FROM metric_confidence_cache WHERE user_id = '${person}' GROUP BY 1 HAVING count(DISTINCT measurement_date) = 2 ORDER BY 1 LIMIT 1`);
  const doubt = (date: string) => sql(`UPDATE unified_metrics SET findings = '[{"kind": "stuck", "detail": "planted"}]'
    WHERE user_id = '${person}' AND metric_name = '${metric}' AND measurement_date = '${date}'`);
  const row = (date: string) => page.locator(`tr[id^="doubt-${metric}-"][id$="-${date}"]`);

  doubt(older);
  await open(page, `/clients/${person}`);
  await expect(page.locator(".live-state")).toHaveText("Live");
  const note = row(older).locator('input[name="note"]');
  await note.fill("The strap was loose.");
  // Also outside the rows, where the focus is no reason to wait any more.
  await page.getByRole("heading", { level: 1 }).click();
  doubt(newer);
  sql(`SELECT pg_notify('assay_live', '{"topic": "scores", "users": ["${person}"], "n": 1}')`);
  await expect(show(page)).toBeVisible();
  await expect(row(newer)).toHaveCount(0);
  await show(page).click();
  await expect(row(newer)).toBeVisible();
  await expect(row(newer).locator('input[name="note"]')).toHaveValue("");
  await expect(note).toHaveValue("The strap was loose.");
  await expect(row(older).locator('input[name="date"]')).toHaveValue(older);
});

test("what was done to a row goes where the row goes, and a chosen source stays chosen", async ({ page }) => {
  await open(page, "/status");
  const found = await page.evaluate(() => {
    const { put } = (window as unknown as { assay: { put(element: Element, html: string): void } }).assay;
    const box = document.createElement("div");
    document.querySelector("main")!.append(box);
    const row = (id: string) => `<tr id="${id}"><td><input name="note" value=""></td></tr>`;
    const linked = (href: string) => `<tr><th><a href="${href}">${href}</a></th><td><button type="button">Bring back</button></td></tr>`;
    const choice = (id: string) => `<label id="${id}" class="choice"><input type="radio" name="source" value="${id}"></label>`;
    const table = (rows: string) => `<table><tbody>${rows}</tbody></table>`;
    put(box, table(row("a") + row("b")) + table(linked("/x") + linked("/y")) + choice("one") + choice("two"));
    const [note, button, radio] = [box.querySelector<HTMLInputElement>("#b input")!, box.querySelectorAll("button")[1]!, box.querySelector<HTMLInputElement>("#two input")!];
    note.value = "typed";
    radio.checked = true;
    button.focus();
    // A row comes before, one leaves for a part that was not there, the others change places.
    put(box, table(row("new") + row("a")) + `<details open>${table(row("b"))}</details>` + table(linked("/y") + linked("/x")) + choice("zero") + choice("one") + choice("two"));
    const found = {
      note: box.querySelector<HTMLInputElement>("details #b input")!.value,
      others: box.querySelector<HTMLInputElement>("#new input")!.value + box.querySelector<HTMLInputElement>("#a input")!.value,
      radio: box.querySelector<HTMLInputElement>("input:checked")!.value,
      focus: document.activeElement?.closest("tr")?.querySelector("a")?.textContent,
    };
    box.remove();
    return found;
  });
  expect(found).toEqual({ note: "typed", others: "", radio: "two", focus: "/y" });
});

test("an answer that finds the pointer in the rows leaves them as they are", async ({ page }) => {
  await open(page, "/admin/logs?follow=on");
  // Every request for the page waits until it is let go.
  const asked: (() => void)[] = [];
  await page.route("**/_fn/page*", async (route) => {
    await new Promise<void>((go) => asked.push(go));
    await route.continue();
  });
  await expect.poll(() => asked.length).toBe(1);
  const line = `planted ${Date.now()}`;
  plantLine(line);
  await page.locator("tbody tr").first().hover();
  await page.locator("tbody").first().evaluate((rows) => {
    Object.assign(window, { moved: 0 });
    const count = (list: MutationRecord[]) => Object.assign(window, { moved: (window as unknown as { moved: number }).moved + list.length });
    new MutationObserver(count).observe(rows, { subtree: true, childList: true, characterData: true });
  });
  const answer = page.waitForResponse("**/_fn/page*");
  asked[0]!();
  await (await answer).finished();
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  await expect(page.locator(".live")).toContainText(WAITS);
  await page.getByRole("heading", { level: 1 }).hover();
  // It is asked for again: the first answer has been dealt with.
  await expect.poll(() => asked.length).toBe(2);
  expect(await page.evaluate(() => (window as unknown as { moved: number }).moved)).toBe(0);
  asked[1]!();
  await expect(page.locator("tbody")).toContainText(line);
  await page.unroute("**/_fn/page*");
  for (const go of asked) go();
});

test("what is followed says that it waits while the pointer rests in it, and shows what is new when asked", async ({ page }) => {
  await open(page, "/admin/logs?follow=on");
  await expect(page.locator(".live")).toContainText("updates every 2 s");
  await page.locator("tbody tr").first().hover();
  await expect(page.locator(".live")).toContainText(WAITS);
  const line = `planted ${Date.now()}`;
  plantLine(line);
  // By the keyboard: the pointer stays where it is.
  await show(page).press("Enter");
  await expect(page.locator("tbody")).toContainText(line);
  await page.getByRole("heading", { level: 1 }).hover();
  await expect(page.locator(".live")).toContainText("updates every 2 s");
});
