// Every screen, in both themes: no accessibility violation, no message on the console, no sideways scrolling at 320
// pixels; and pictures at three widths to look at.
import { accessible, alive, expect, fits, open, test } from "../fixtures";
import { NOTHING_FOUND, PLAIN, SCREENS, SPECIAL } from "../screens";

const ALIVE = [...SCREENS, ...NOTHING_FOUND, ...SPECIAL];

for (const theme of ["light", "dark"] as const) {
  test.describe(theme, () => {
    test.beforeEach(async ({ context, baseURL }) => {
      await context.addCookies([{ name: "theme", value: theme, url: baseURL! }]);
    });

    for (const [name, path] of ALIVE) {
      test(`${name} is accessible`, async ({ page }) => {
        await open(page, path);
        await expect(page.locator("html")).toHaveAttribute("data-theme", theme);
        await accessible(page);
      });
    }

    for (const [name, path] of PLAIN) {
      test(`${name} is accessible`, async ({ page }) => {
        await page.goto(path);
        await expect(page.locator("html")).toHaveAttribute("data-theme", theme);
        await accessible(page);
      });
    }

    test("a person is accessible", async ({ page }) => {
      await open(page, "/clients");
      await page.locator("tbody th a").first().click();
      await page.locator("td.value").first().waitFor();
      await accessible(page);
    });

    for (const [list, heading] of [["jobs", /^Job: /], ["webhooks", /^Delivery: /]] as const) {
      test(`one of ${list} is accessible`, async ({ page }) => {
        await open(page, `/admin/${list}`);
        await page.locator(`tbody a[href^="/admin/${list}/"]`).first().click();
        await expect(page.getByRole("heading", { level: 1 })).toHaveText(heading);
        await accessible(page);
      });
    }
  });
}

test.describe("what is not there", () => {
  test.use({ allowStatusLine: true });

  test("an unknown page is a 404 with a way on", async ({ page }) => {
    const response = await open(page, "/no-such-page");
    expect(response?.status()).toBe(404);
    await expect(page.getByRole("link", { name: "Go to the start" })).toBeVisible();
    await accessible(page);
  });

  test("an unknown person is a 404", async ({ page }) => {
    const response = await open(page, "/clients/nobody-with-this-id");
    expect(response?.status()).toBe(404);
    await expect(page.getByText("does not exist, or is not yours to see")).toBeVisible();
  });

  test("odd parameters are clamped, never an error", async ({ page }) => {
    for (const path of ["/admin?range=-3&metric=%00'\"<b>", "/clients?page=999999999999&tier=%ff&q=%00", "/status?x=1", "/admin/jobs?status=odd&before=never", "/admin/logs?level=%ff&before=x"]) {
      const response = await open(page, path);
      expect(response?.status(), path).toBe(200);
    }
  });
});

test("nothing scrolls sideways at 320 pixels, and pictures are taken", async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto("/clients");
  const person = await page.locator("tbody th a").first().getAttribute("href");
  const about = (person ?? "").replace("/clients/", "/admin/people/");
  const plain: [string, string][] = [...PLAIN, ["person-rights", about]];
  await page.goto("/clients?metric=hrv_rmssd");
  const why = (await page.locator("td.reading a.badge-link").first().getAttribute("href")) ?? "/clients";
  const screens: [string, string][] = [
    ...ALIVE,
    ["person", person ?? "/clients"],
    ["person-activity", `${person}?tab=activity`],
    ["metric", why.split("/").slice(0, 4).join("/")],
    ["why", why],
    ...plain,
  ];
  for (const [name, path] of screens) {
    await page.setViewportSize({ width: 320, height: 700 });
    await page.goto(path);
    if (!plain.some(([n]) => n === name)) await alive(page);
    await fits(page);
    for (const width of [360, 768, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: `screenshots/${name}-${width}.png`, fullPage: true });
    }
    // The theme is the system's, so the dark page needs no second visit.
    await page.emulateMedia({ colorScheme: "dark" });
    await page.screenshot({ path: `screenshots/${name}-1440-dark.png`, fullPage: true });
    await page.emulateMedia({ colorScheme: "light" });
  }
});
