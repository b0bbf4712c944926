// The trainer's way: whose number cannot be trusted, why, what would help, whether a change is real, which source to
// take. All of it with JavaScript off as well, and accessible in both themes.
import { accessible, expect, fits, open, test } from "../fixtures";
import type { Page } from "@playwright/test";

/** The person at the top of the list of a metric, as the path of the reasons of the newest value. */
async function leastTrusted(page: Page, metric: string) {
  await page.goto(`/clients?metric=${metric}`);
  return (await page.locator("td.reading a.badge-link").first().getAttribute("href"))!;
}

/** The confidence of each value that a person's page shows. */
async function confidences(page: Page) {
  return (await page.locator("section:has(#values) .badge-number").allTextContents()).map(Number);
}

/** A person with values that can be trusted and others that cannot: the page of that person. */
async function mixed(page: Page) {
  await page.goto("/clients");
  for (const person of await page.locator("tbody th > a").evaluateAll((links) => links.map((a) => a.getAttribute("href")!))) {
    await page.goto(person);
    const all = await confidences(page);
    if (Math.min(...all) < 60 && Math.max(...all) >= 60) return;
  }
  throw new Error("nobody has both");
}

/** A person with two sources of resting heart rate, as the path of that metric. */
async function twoDevices(page: Page) {
  await page.goto("/clients");
  for (const person of await page.locator("tbody th > a").evaluateAll((links) => links.map((a) => a.getAttribute("href")!))) {
    await page.goto(`${person}/steps`);
    if ((await page.locator(".choice").count()) > 2) {
      return `${person}/steps`;
    }
  }
  throw new Error("nobody has two sources");
}

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("whose HRV cannot be trusted, and why", async ({ page }) => {
    await page.goto("/clients");
    await page.getByRole("navigation", { name: "Metric" }).getByRole("link", { name: "HRV (RMSSD)" }).click();
    await expect(page).toHaveURL(/metric=hrv_rmssd/);
    const scores = (await page.locator("td.reading .badge-number").allTextContents()).map(Number);
    expect(scores.length).toBeGreaterThan(1);
    expect(scores, "least trusted first").toEqual([...scores].sort((a, b) => a - b));
    await page.locator("td.reading a.badge-link").first().click();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Why this score");
    const points = await page.locator(".waterfall tr:not(.sum) td.value").allTextContents();
    const sum = points.map((p) => Number(p.replace("−", "-").replace(/[+±]/, ""))).reduce((a, b) => a + b);
    expect(points).toHaveLength(6);
    expect(sum, "the bars add up to the score").toBe(Number(await page.locator(".waterfall .sum td.value").textContent()));
    expect(sum).toBe(scores[0]);
    await expect(page.getByRole("region", { name: "What would raise it" }).locator("li").first()).toBeVisible();
  });

  test("filters live in the address, and the file honours them", async ({ page }) => {
    await page.goto("/clients");
    await page.getByLabel("With a value that is").selectOption("doubted");
    await page.getByLabel("Order").selectOption("name");
    await page.getByRole("button", { name: "Show", exact: true }).click();
    await expect(page).toHaveURL(/tier=doubted/);
    const names = await page.locator("tbody th > a").allTextContents();
    expect(names).toEqual([...names].sort((a, b) => a.toLowerCase().localeCompare(b.toLowerCase(), "en")));
    await page.goto("/clients?q=nobody-is-called-this");
    await expect(page.getByText("Nobody matches")).toBeVisible();
    const file = await page.request.get("/clients.csv?q=nobody-is-called-this");
    expect(file.headers()["content-type"]).toContain("text/csv");
    expect((await file.text()).trim().split("\n")).toHaveLength(1);
    const all = (await (await page.request.get("/clients.csv?metric=hrv_rmssd")).text()).trim().split("\r\n");
    expect(all.length).toBeGreaterThan(2);
    expect(all.slice(1).every((line) => line.includes('"hrv_rmssd"'))).toBe(true);
  });

  test("heads put the list in their order and say which one holds", async ({ page }) => {
    await page.goto("/clients?tier=doubted");
    for (const [head, sort] of [["Last data", "age"], ["Achievable", "gain"]]) {
      await page.locator("thead").getByRole("link", { name: head }).click();
      await expect(page).toHaveURL(new RegExp(`tier=doubted&sort=${sort}`));
      await expect(page.locator("th[aria-sort]")).toHaveText(head);
    }
    await page.locator("thead").getByRole("link", { name: "7 days" }).click();
    await expect(page).toHaveURL(/tier=doubted$/);
    // A time is there to be read, not only to be pointed at.
    await expect(page.locator("td.last-data time").first()).toHaveText(/\d:\d\d/);
  });

  test("a metric over time, its verdicts, and the choice of source", async ({ page }) => {
    const path = await twoDevices(page);
    await page.goto(path);
    await expect(page.getByRole("region", { name: "Is a change real?" }).locator("tbody tr")).toHaveCount(3);
    await expect(page.getByRole("region", { name: "Two devices" })).toBeVisible();
    await page.getByRole("link", { name: "1 year" }).click();
    await expect(page).toHaveURL(/range=365/);
    const last = page.locator(".choice input").last();
    const wanted = await last.getAttribute("value");
    await last.check();
    await page.getByRole("button", { name: "Take this source" }).click();
    await expect(page).toHaveURL(/notice=source-(chosen|same)/);
    await expect(page.locator(`.choice input[value="${wanted}"]`)).toBeChecked();
    await expect(page.getByText("chosen for this person").or(page.getByText("was chosen, but has no value of this day")).first()).toBeVisible();
    await page.locator(".choice input").first().check();
    await page.getByRole("button", { name: "Take this source" }).click();
    await expect(page.getByText("Nobody chose")).toBeVisible();
  });

  test("a person: what can be acted on, switches, activity", async ({ page }) => {
    await page.goto("/clients");
    await page.locator("tbody th > a").first().click();
    await expect(page.getByRole("region", { name: "Can I act on it today?" }).locator(".act").first()).toBeVisible();
    await mixed(page);
    const sound = (await confidences(page)).filter((score) => score >= 60);
    const rows = await page.locator("section:has(#values) td.value").count();
    await page.getByRole("link", { name: "Confidence ≥ 60" }).click();
    await expect(page).toHaveURL(/sound=1/);
    await expect.poll(() => confidences(page)).toEqual(sound);
    expect(await page.locator("section:has(#values) td.value").count()).toBeLessThan(rows);
    await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Activity" }).click();
    await expect(page.getByRole("region", { name: "Deliveries", exact: true }).locator("tbody tr").first()).toBeVisible();
  });
});

test("the trainer's pages read whole at every width: no table is wider than its frame", async ({ page }) => {
  const why = await leastTrusted(page, "hrv_rmssd");
  const person = why.split("/").slice(0, 3).join("/");
  for (const path of ["/clients", "/clients?metric=hrv_rmssd", person, why.split("/").slice(0, 4).join("/"), why]) {
    await page.goto(path);
    for (const width of [1440, 1280, 1024, 768, 360]) {
      await page.setViewportSize({ width, height: 900 });
      const over = await page.locator(".scroll").evaluateAll((boxes) => boxes.filter((b) => !b.closest("details:not([open])")).map((b) => b.scrollWidth - b.clientWidth).filter((o) => o > 0));
      expect(over, `${path} at ${width}`).toEqual([]);
      await fits(page);
    }
  }
});

test("who needs a look is counted, and each count leads to them", async ({ page }) => {
  await page.goto("/clients");
  const broken = page.getByRole("list", { name: "Who needs a look" }).getByRole("link", { name: /with a broken connection/ });
  const n = Number(await broken.locator("strong").textContent());
  await broken.click();
  await expect(page).toHaveURL(/links=broken/);
  await expect(page.locator(".roster tr")).toHaveCount(n);
  await expect(page.locator(".roster tr").filter({ hasText: "Broken" })).toHaveCount(n);
});

test("with the keyboard alone: to the metric, to the person, to the reasons", async ({ page }) => {
  await open(page, "/clients");
  const hrv = page.getByRole("navigation", { name: "Metric" }).getByRole("link", { name: "HRV (RMSSD)" });
  for (let i = 0; i < 25 && !(await hrv.evaluate((e) => e === document.activeElement)); i++) await page.keyboard.press("Tab");
  await expect(hrv).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/metric=hrv_rmssd/);
  const badge = page.locator("td.reading a.badge-link").first();
  // The address changes before the list does: one metric's list says why.
  await expect(page.getByRole("columnheader", { name: "Why" })).toBeVisible();
  await badge.focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Why this score");
});

for (const theme of ["light", "dark"] as const) {
  test(`one metric, one score and the activity are accessible (${theme})`, async ({ page, context, baseURL }) => {
    await context.addCookies([{ name: "theme", value: theme, url: baseURL! }]);
    const why = await leastTrusted(page, "hrv_rmssd");
    for (const path of [why, why.split("/").slice(0, 4).join("/"), `${why.split("/").slice(0, 3).join("/")}?tab=activity`, "/clients?metric=hrv_rmssd"]) {
      await open(page, path);
      await accessible(page);
    }
  });
}

test.describe("bad input", () => {
  test.use({ allowStatusLine: true });

  test("who and what is not there is a 404; a day that is none is named", async ({ page }) => {
    const why = await leastTrusted(page, "hrv_rmssd");
    const person = why.split("/").slice(0, 3).join("/");
    expect((await page.request.get("/clients/nobody-with-this-id/steps")).status()).toBe(404);
    expect((await page.request.get(`${person}/no_such_metric`)).status()).toBe(404);
    expect((await page.request.get(`${person}/steps/1999-01-01`)).status()).toBe(404);
    const odd = await page.request.get(`${person}/steps/yesterday`);
    expect(odd.status()).toBe(422);
    expect(await odd.text()).toContain("The day in the address must look like");
    expect((await page.request.get(`${person}/steps?range=-3&sound=%ff`)).status()).toBe(200);
  });
});
