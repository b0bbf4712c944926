// Paper, colours that the reader's system forces, and a finger instead of a pointer: what is left out, what is still told
// apart, what is large enough; and pictures of each to look at.
import { expect, open, test } from "../fixtures";

const PAPER: [name: string, path: string][] = [["admin", "/admin"], ["clients", "/clients"], ["clients-metric", "/clients?metric=hrv_rmssd"],
  ["calibration", "/admin/calibration"], ["registry", "/admin/settings/registry"]];

// How many tables beside drawings a page has at least, and whether it has badges.
const TWINS: Record<string, number> = { admin: 2, metric: 1 };
const BADGES = ["admin", "clients", "clients-metric"];

test("on paper there is content only, and the tables beside drawings are printed", async ({ page }) => {
  await page.setViewportSize({ width: 800, height: 1100 });
  await page.emulateMedia({ media: "print", colorScheme: "light" });
  await open(page, "/clients");
  const person = (await page.locator("tbody th > a").first().getAttribute("href"))!;
  await open(page, "/clients?metric=hrv_rmssd");
  const why = (await page.locator("td.reading a.badge-link").first().getAttribute("href"))!;
  for (const [name, path] of [...PAPER, ["person", person], ["metric", why.split("/").slice(0, 4).join("/")], ["why", why]]) {
    await open(page, path);
    await expect(page.locator("form:visible, .mast:visible, .live:visible, .news:visible, .foot:visible"), name).toHaveCount(0);
    const twins = await page.locator("details.twin table").all();
    expect(twins.length, name).toBeGreaterThanOrEqual(TWINS[name] ?? 0);
    for (const twin of twins) await expect(twin, name).toBeVisible();
    await page.screenshot({ path: `screenshots/print-${name}.png`, fullPage: true });
  }
});

test("with forced colours every badge keeps its border and its word", async ({ page }) => {
  await page.emulateMedia({ forcedColors: "active" });
  for (const [name, path] of PAPER) {
    await open(page, path);
    const badges = await page.locator(".badge:visible").all();
    expect(badges.length, name).toBeGreaterThanOrEqual(BADGES.includes(name) ? 1 : 0);
    for (const badge of badges.slice(0, 5)) {
      await expect(badge, name).toHaveCSS("border-top-style", "solid");
      await expect(badge, name).toContainText(/[A-Za-z]/);
    }
    await page.screenshot({ path: `screenshots/forced-${name}.png`, fullPage: true });
  }
});

test.describe("with a finger", () => {
  test.use({ hasTouch: true, isMobile: true, viewport: { width: 390, height: 844 } });

  test("what is pressed is 44 pixels high", async ({ page }) => {
    for (const path of ["/admin", "/admin/jobs", "/clients", "/admin/webhooks?tab=test", "/preferences", "/admin/users"]) {
      await open(page, path);
      const small = await page
        .locator(".tabs a, .chips a, .segments a, .segments button, .button, .quiet, .mast-nav a, summary, select, input:not([type=hidden], [type=checkbox], [type=radio])")
        .evaluateAll((all) => all.filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5).map((e) => `${e.outerHTML.slice(0, 80)}: ${e.getBoundingClientRect().height}`));
      expect(small, path).toEqual([]);
    }
  });
});
