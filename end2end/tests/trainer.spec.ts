// A trainer, from the invitation to the people assigned: what is theirs works as for everybody, what is not is not there.
// On the way the plain pages are used as an administrator uses them: their menu, their keys, a refused form.
import { accessible, alive, expect, test } from "../fixtures";

// Refused forms and pages that are not theirs are asked for on purpose.
test.use({ allowStatusLine: true });

test("the plain pages have the same menu and the same keys", async ({ page }) => {
  await page.goto("/admin/users");
  await alive(page);
  const menu = page.getByRole("navigation", { name: "Main" });
  await expect(menu.getByRole("link")).toHaveText(["Overview", "People", "Jobs", "Dead letters", "Webhooks", "Logs", "Calibration", "System"]);
  await page.goto("/admin/settings/retention");
  await expect(menu.getByRole("link", { name: "System" })).toHaveAttribute("aria-current", "page");
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard" })).toBeVisible();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("accounts");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/admin\/users$/);
});

test("what was refused has the focus, says where the mistake is, and keeps what was typed", async ({ browser, baseURL, watch }) => {
  const context = await browser.newContext({ baseURL, storageState: "./test-results/admin.json" });
  const page = await context.newPage();
  watch(page);
  await page.goto("/admin/users");
  await page.getByLabel("E-mail", { exact: true }).evaluate((field: HTMLInputElement) => { field.type = "text"; });
  await page.getByLabel("E-mail", { exact: true }).fill("nobody@a@b");
  await page.getByLabel("Name", { exact: true }).fill("Nina Nobody");
  await page.getByRole("button", { name: "Make the link" }).click();
  await expect(page.getByRole("alert")).toContainText("That is not an e-mail address.");
  await expect(page.getByRole("alert")).toBeFocused();
  const field = page.getByLabel("E-mail", { exact: true });
  await expect(field).toHaveValue("nobody@a@b");
  await expect(field).toHaveAttribute("aria-invalid", "true");
  await expect(field).toHaveAccessibleDescription("That is not an e-mail address.");
  await expect(page.getByLabel("Name", { exact: true })).toHaveValue("Nina Nobody");
  await page.getByRole("link", { name: "To the field" }).click();
  await expect(field).toBeFocused();
  await accessible(page);
  await context.close();
});

test("a trainer is invited, sees the people assigned to them, and nothing of the administration", async ({ page, browser, baseURL, watch }) => {
  test.setTimeout(120_000);
  const email = `trainer-${Date.now()}@example.test`;
  await page.goto("/admin/users");
  await page.getByLabel("E-mail", { exact: true }).fill(email);
  await page.getByLabel("Name", { exact: true }).fill("Tilda Trainer");
  await page.getByRole("button", { name: "Make the link" }).click();
  const link = new URL((await page.locator("main code").textContent())!);
  await page.goto("/clients");
  const mine = (await page.locator("tbody th > a").first().getAttribute("href"))!;
  const other = (await page.locator("tbody th > a").nth(1).getAttribute("href"))!;
  await page.goto(mine.replace("/clients/", "/admin/people/"));
  await expect(page).toHaveTitle("Person · Assay");
  await page.getByRole("combobox", { name: "Trainer", exact: true }).selectOption({ label: email });
  await page.getByRole("button", { name: "Assign" }).click();
  await expect(page.getByRole("region", { name: "Trainers of this person" })).toContainText(email);

  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const theirs = await context.newPage();
  watch(theirs);
  await theirs.goto(link.pathname);
  await theirs.getByLabel("New password").fill("four unrelated words of mine");
  await theirs.getByRole("button", { name: "Set password" }).click();
  await expect(theirs).toHaveURL(/\/login\?notice=password_set/);
  await alive(theirs);
  await theirs.getByLabel("E-mail address").fill(email);
  await theirs.getByLabel("Password").fill("four unrelated words of mine");
  await theirs.getByRole("button", { name: "Log in" }).click();
  await expect(theirs).toHaveURL(/\/clients$/);
  await alive(theirs);

  await expect(theirs.getByRole("navigation", { name: "Main" }).getByRole("link")).toHaveText(["People"]);
  await expect(theirs.locator("tbody th > a")).toHaveCount(1);
  await accessible(theirs);
  // Keys lead to what is theirs, and the list of keys names nothing else.
  await theirs.keyboard.press("g");
  await theirs.keyboard.press("j");
  await theirs.keyboard.press("?");
  const keys = theirs.getByRole("dialog", { name: "Keyboard" });
  await expect(keys).toContainText("People");
  await expect(keys).not.toContainText("Jobs");
  await theirs.keyboard.press("Escape");
  await expect(theirs).toHaveURL(/\/clients$/);

  await theirs.locator("tbody th > a").first().click();
  await expect(theirs.locator("td.value").first()).toBeVisible();
  await expect(theirs.locator(".live-state")).toHaveText("Live");
  await expect(theirs.getByRole("link", { name: "Trainers, export, erasure" })).toHaveCount(0);
  expect((await theirs.request.get(other)).status(), "another's person").toBe(404);
  for (const path of ["/admin", "/admin/jobs", "/admin/users", mine.replace("/clients/", "/admin/people/")]) {
    expect((await theirs.request.get(path)).status(), path).toBe(403);
  }
  const refused = await theirs.goto("/admin/jobs");
  expect(refused?.status()).toBe(403);
  await expect(theirs.getByRole("heading", { level: 1 })).toHaveText("For administrators");
  await theirs.getByRole("link", { name: "To the start page" }).click();
  await expect(theirs).toHaveURL(/\/clients$/);
  await context.close();
});
