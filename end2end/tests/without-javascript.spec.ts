// Everything a reader needs works with JavaScript switched off: pages, filters, forms, actions.
import { expect, test } from "../fixtures";

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
  await page.getByRole("button", { name: "Show" }).click();
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
