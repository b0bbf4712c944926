// The administrator's way: log in, see data, recalculate everything, watch it to the end.
import { plantWaiting, sql, testEvent } from "../database";
import { accessible, alive, expect, open, test } from "../fixtures";

test("logging in leads to a dashboard with data, and out again", async ({ browser, baseURL, watch }) => {
  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const page = await context.newPage();
  watch(page);
  await page.goto("/admin");
  await expect(page).toHaveURL(/\/login\?next=/);
  await alive(page);
  await page.getByLabel("E-mail address").fill("nobody@example.test");
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.locator(".alert")).toContainText("do not belong together");
  await page.getByLabel("E-mail address").fill(process.env.ASSAY_ADMIN_EMAIL!);
  await page.getByLabel("Password").fill(process.env.ASSAY_ADMIN_PASSWORD!);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page).toHaveURL(/\/admin$/);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Data quality");
  await page.locator(".menu summary").click();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page).toHaveURL(/\/login/);
  await context.close();
});

test("the dashboard shows badges of people whose data arrived", async ({ page }) => {
  await open(page, "/admin");
  const people = page.getByRole("region", { name: "Least trusted people" });
  await expect(people.locator("tbody tr").first()).toBeVisible();
  await expect(people.locator("tbody .badge").first()).toContainText(/Excellent|Good|Fair|Poor|Unknown/);
  const shares = page.locator(".share-count");
  const counts = (await shares.allTextContents()).map((t) => Number(t.replaceAll(",", "")));
  expect(counts).toHaveLength(5);
  expect(counts.reduce((a, b) => a + b)).toBeGreaterThan(0);
});

test("Recalculate All runs to its end with live progress", async ({ page }) => {
  const operation = page.locator("section.operation");
  const bar = operation.getByRole("progressbar");
  const heard = "SELECT pg_notify('assay_jobs', 'recalculation')";
  sql(`INSERT INTO job_kinds (type, paused) VALUES ('recalculation', true) ON CONFLICT (type) DO UPDATE SET paused = true; ${heard}`);
  try {
    await open(page, "/admin");
    await page.getByRole("button", { name: "Recalculate All" }).click();
    await expect(page).toHaveURL(/notice=recalculation-started/);
    await expect(operation.locator(".badge")).toContainText("running");
    expect(Number(await bar.getAttribute("value")), "held back, it is not done").toBeLessThan(100);
    await alive(page);
    await page.evaluate(() => Object.assign(window, { theSame: true }));
  } finally {
    sql(`DELETE FROM job_kinds WHERE type = 'recalculation'; ${heard}`);
  }
  await expect(operation.locator(".badge")).toContainText("completed", { timeout: 50_000 });
  await expect(bar).toHaveAttribute("value", "100");
  await expect(page.getByRole("button", { name: "Recalculate All" })).toBeEnabled();
  expect(await page.evaluate(() => (window as { theSame?: boolean }).theSame), "the document is the one that was opened").toBe(true);
});

test("without the advanced metrics the cards stay, and the rest comes back with them", async ({ page }) => {
  const cards = ["Job queue", "Average confidence", "Webhooks, 24 h", "System health"];
  const advanced = ["Arrivals by minute", "Score cache", "Sources", "Jobs by kind", "Recent job activity"];
  const panel = (name: string) => page.getByRole("heading", { level: 2, name, exact: true });
  for (const [press, there] of [["Hide them", 0], ["Show them", 1]] as const) {
    await open(page, "/admin/settings");
    await page.getByRole("button", { name: press }).click();
    await expect(page).toHaveURL(/notice=settings-saved/);
    await open(page, "/admin");
    for (const name of cards) await expect(panel(name), name).toHaveCount(1);
    for (const name of advanced) await expect(panel(name), name).toHaveCount(there);
  }
});

test("range and metric live in the address", async ({ page }) => {
  await open(page, "/admin");
  await page.getByRole("link", { name: "7 days" }).click();
  await expect(page).toHaveURL(/range=7/);
  await expect(page.getByRole("link", { name: "7 days" })).toHaveAttribute("aria-current", "true");
  await page.reload();
  await expect(page.getByRole("link", { name: "7 days" })).toHaveAttribute("aria-current", "true");
  await page.goBack();
  await expect(page.getByRole("link", { name: "30 days" })).toHaveAttribute("aria-current", "true");
});

test("a tier leads to the people behind it, a person to the values", async ({ page }) => {
  await open(page, "/admin");
  await page.locator(".shares").getByRole("link", { name: "Good" }).click();
  await expect(page).toHaveURL(/\/clients\?tier=good/);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("People");
  await page.locator("tbody th a").first().click();
  await expect(page).toHaveURL(/\/clients\/.+/);
  await expect(page.locator("td.value").first()).toBeVisible();
  await accessible(page);
});

test("the page says live, can be paused, and remembers it", async ({ page }) => {
  await open(page, "/admin");
  await expect(page.locator(".live-state")).toHaveText("Live");
  await page.getByRole("button", { name: "Pause" }).click();
  await expect(page.locator(".live-state")).toHaveText("Paused");
  await page.reload();
  await alive(page);
  await expect(page.locator(".live-state")).toHaveText("Paused");
  await page.getByRole("button", { name: "Pause" }).click();
  await expect(page.locator(".live-state")).toHaveText("Live");
});

test("changing the page by a link moves the focus to its heading", async ({ page }) => {
  await open(page, "/admin");
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "People" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "People" })).toBeFocused();
  await expect(page).toHaveTitle("People · Assay");
});

test("keys lead on, are silent while typing, and can be switched off", async ({ page }) => {
  await open(page, "/admin");
  await page.keyboard.press("g");
  await page.keyboard.press("j");
  await expect(page).toHaveURL(/\/admin\/jobs$/);
  await expect(page.getByRole("heading", { level: 1, name: "Jobs" })).toBeVisible();
  await page.keyboard.press("/");
  await expect(page.getByLabel("Search")).toBeFocused();
  await page.keyboard.type("g?d");
  await expect(page.getByLabel("Search")).toHaveValue("g?d");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.getByRole("heading", { level: 1 }).click();
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard" })).toBeVisible();
  await accessible(page);
  await page.getByLabel("Single keys are on").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.evaluate(() => localStorage.removeItem("assay-keys"));
});

test("the palette goes anywhere", async ({ page }) => {
  await open(page, "/admin");
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("combobox", { name: "Go to a page, or search" })).toBeFocused();
  await page.keyboard.type("sched");
  await accessible(page);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/admin\/schedules$/);
  await expect(page.getByRole("heading", { level: 1, name: "Schedules" })).toBeVisible();
});

test("every alert leads to a page that is there, and so does the palette", async ({ page }) => {
  await open(page, "/admin");
  const hrefs = await page.locator(".alerts a").evaluateAll((links) => links.map((a) => a.getAttribute("href")!));
  // Pages of the server's own, whose links the application must leave alone.
  expect(hrefs).toEqual(expect.arrayContaining(["/account", "/admin/connect"]));
  for (const href of hrefs) {
    await open(page, "/admin");
    const link = page.locator(`.alerts a[href="${href}"]`).first();
    // What was an alert may be mended by now.
    if (!(await link.count())) continue;
    await link.click();
    await expect(page).toHaveURL(href.startsWith("#") ? `/admin${href}` : href);
    await alive(page);
    await expect(page.getByRole("heading", { level: 1 }), href).toBeVisible();
    await expect(page.locator("main"), href).not.toContainText(/not found|does not exist/i);
  }
  await open(page, "/admin");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("connect a person");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL("/admin/connect");
  await expect(page.getByRole("heading", { level: 1, name: "Connect a person" })).toBeVisible();
});

test("what is chosen with the keyboard keeps the focus, and where it goes out of sight the heading has it", async ({ page }) => {
  await open(page, "/admin");
  const week = page.getByRole("link", { name: "7 days" });
  await week.press("Enter");
  await expect(week).toHaveAttribute("aria-current", "true");
  await expect(week).toBeFocused();

  const person = `planted-${Date.now()}`;
  plantWaiting(120, person);
  await open(page, `/admin/jobs?q=${encodeURIComponent(`user:${person}`)}`);
  await page.getByRole("link", { name: "Next →" }).press("Enter");
  await expect(page).toHaveURL(/before=/);
  await expect(page.getByRole("link", { name: "First page" })).toBeAttached();
  await expect(page.getByRole("heading", { level: 1, name: "Jobs" })).toBeFocused();
});

test("a question is a dialog: focus inside, Escape keeps", async ({ page }) => {
  await open(page, "/admin/webhooks?tab=replay&ask=replay");
  const dialog = page.getByRole("dialog");
  await expect(dialog).toContainText("stored deliveries again?");
  await expect(dialog.getByRole("link", { name: "Keep" })).toBeFocused();
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/tab=replay$/);
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Count them" })).toBeFocused();
});

test("rows are ticked one by one, by range, all at once, and stay ticked when news are shown", async ({ page, request, baseURL }) => {
  sql("INSERT INTO background_jobs (type, payload, scheduled_at) SELECT 'log_rollup', '{}', now() + interval '1 day' FROM generate_series(1, 3)");
  await open(page, "/admin/jobs?status=pending");
  const boxes = page.locator('input[form="chosen"]');
  await boxes.nth(0).check();
  await boxes.nth(2).click({ modifiers: ["Shift"] });
  await expect(page.locator("#chosen")).toContainText(/^3 of the \d+ on this page ticked/);
  await page.getByLabel("Tick all rows of this page").check();
  await expect(page.locator("#chosen")).toContainText(`${await boxes.count()} of the ${await boxes.count()} on this page ticked`);
  await page.getByLabel("Tick all rows of this page").uncheck();
  await boxes.nth(1).check();
  const id = await boxes.nth(1).getAttribute("value");
  await testEvent(request, baseURL, "body");
  await page.getByRole("button", { name: "Something changed. Show it" }).click();
  await expect(page.locator(`input[form="chosen"][value="${id}"]`)).toBeChecked();
  await expect(page.locator('input[form="chosen"]:checked')).toHaveCount(1);
});
