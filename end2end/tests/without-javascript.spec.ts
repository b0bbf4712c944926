// Everything a reader needs works with JavaScript switched off: pages, filters, forms, actions.
import { expect, test } from "../fixtures";
import { FULL, NOTHING_FOUND, PLAIN, SCREENS } from "../screens";

test.use({ javaScriptEnabled: false });

test("reads: dashboard, people, a person, status", async ({ page }) => {
  await page.goto("/admin");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Data quality");
  await expect(page.getByRole("button", { name: "Pause" })).toBeHidden();
  await expect(page.getByRole("link", { name: "Reload" })).toBeVisible();
  await page.getByRole("link", { name: "90 days" }).click();
  await expect(page).toHaveURL(/range=90/);
  await page.goto("/clients");
  await page.getByLabel("With a value that is").selectOption("good");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await expect(page).toHaveURL(/tier=good/);
  await page.locator("tbody th a").first().click();
  await expect(page.locator("td.value").first()).toBeVisible();
  await page.goto("/status");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Status");
});

test("actions: Recalculate All, and its progress by reloading", async ({ page }) => {
  await page.goto("/admin");
  await page.getByRole("button", { name: "Recalculate All" }).click();
  await expect(page).toHaveURL(/\/admin\?notice=recalculation-started/);
  await expect(page.getByText("Recalculation started.")).toBeVisible();
  await expect(async () => {
    await page.goto("/admin");
    await expect(page.locator("section.operation .badge")).toContainText("completed", { timeout: 500 });
  }).toPass({ timeout: 50_000 });
});

test("the theme is chosen by a form and painted by the server", async ({ page }) => {
  await page.goto("/status");
  await page.locator(".menu summary").click();
  await page.getByRole("button", { name: "Dark" }).click();
  await expect(page).toHaveURL(/\/status$/);
  await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
});

test("preferences change times for this reader, and a refused form says why", async ({ page }) => {
  await page.goto("/preferences?back=%2Fadmin%2Fnodes");
  await page.getByLabel("Time zone").selectOption("Asia/Tokyo");
  await page.getByLabel("Dates").selectOption("iso");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Preferences saved.")).toBeVisible();
  await page.getByRole("link", { name: "Back to the page" }).click();
  await expect(page).toHaveURL(/\/admin\/nodes$/);
  await expect(page.locator("footer")).toContainText("Asia/Tokyo");
  await expect(page.locator("tbody time").first()).toHaveAttribute("title", /^\d{4}-\d\d-\d\d, \d\d:\d\d:\d\d JST$/);
  await page.goto("/preferences");
  await page.getByLabel("Time zone").selectOption("UTC");
  await page.getByLabel("Dates").selectOption("en-GB");
  await page.getByRole("button", { name: "Save" }).click();
  await page.goto("/admin/trainers");
  await page.locator("tbody th a").first().click();
  await page.getByLabel("Ids").fill("nobody-has-this-id");
  await page.getByRole("button", { name: "Assign" }).click();
  await expect(page.getByText("There is no person with the id “nobody-has-this-id”; nothing was changed.")).toBeVisible();
  expect(page.url()).not.toContain("__err");
  await page.reload();
  await expect(page.getByText("There is no person with the id")).toHaveCount(0);
});

test("a question is answered by a form, a replay counted first", async ({ page }) => {
  await page.goto("/admin/webhooks?tab=replay");
  await page.getByLabel("Type").selectOption("sleep");
  await page.getByRole("button", { name: "Count them" }).click();
  await expect(page.getByText("stored deliveries again?")).toBeVisible();
  await page.getByRole("button", { name: /^Replay [1-9]/ }).click();
  await expect(page.getByText("deliveries are on their way again")).toBeVisible();
});

test("every page is there, with its heading, its data and no dead control", async ({ page }) => {
  test.setTimeout(120_000);
  for (const [name, path] of [...SCREENS, ...NOTHING_FOUND, ...PLAIN]) {
    const response = await page.goto(path);
    expect(response?.status(), name).toBe(200);
    await expect(page.getByRole("heading", { level: 1 }), name).toHaveCount(1);
    await expect(page.getByText("Loading…"), name).toHaveCount(0);
    if (FULL.includes(name)) expect(await page.locator("main tbody tr").count(), name).toBeGreaterThan(0);
    await expect(page.locator("button.with-js:visible"), name).toHaveCount(0);
  }
});

test("ticked jobs are sent by an ordinary form", async ({ page }) => {
  await page.goto("/admin/jobs?status=pending");
  const box = page.locator('input[form="chosen"]').first();
  test.skip((await box.count()) === 0, "nothing waits just now");
  await box.check();
  await page.locator("#chosen").getByRole("button", { name: "Run now" }).click();
  await expect(page).toHaveURL(/notice=jobs-run/);
});
