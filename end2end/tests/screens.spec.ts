// Every screen, in both themes: no accessibility violation, no message on the console, no sideways scrolling at 320
// pixels; and pictures at three widths to look at.
import { accessible, alive, expect, fits, open, test } from "../fixtures";

const SCREENS: [name: string, path: string][] = [
  ["login", "/login?error=invalid&next=%2Fadmin"],
  ["admin", "/admin"],
  ["people", "/clients"],
  ["people-metric", "/clients?metric=hrv_rmssd"],
  ["people-none", "/clients?q=nobody-is-called-this"],
  ["status", "/status"],
  ["jobs", "/admin/jobs"],
  ["jobs-none", "/admin/jobs?user=nobody-is-called-this"],
  ["dead-letters", "/admin/dead-letters"],
  ["webhooks", "/admin/webhooks"],
  ["logs", "/admin/logs"],
  ["dead-letters-none", "/admin/dead-letters?kind=no-such-kind"],
  ["webhooks-none", "/admin/webhooks?q=user%3Anobody-is-called-this"],
  ["webhooks-refused", "/admin/webhooks?tab=refused"],
  ["webhooks-replay", "/admin/webhooks?tab=replay&ask=replay"],
  ["webhooks-test", "/admin/webhooks?tab=test"],
  ["logs-none", "/admin/logs?q=nobody-wrote-this"],
  ["logs-audit", "/admin/logs?tab=audit"],
  ["nodes", "/admin/nodes"],
  ["schedules", "/admin/schedules"],
  ["kinds", "/admin/kinds"],
  ["limits", "/admin/limits"],
  ["connections", "/admin/connections"],
  ["connections-none", "/admin/connections?q=user%3Anobody-is-called-this"],
  ["trainers", "/admin/trainers"],
  ["settings", "/admin/settings"],
  ["registry", "/admin/settings/registry"],
  ["registry-metric", "/admin/settings/registry/hrv_rmssd?tolerance=12&kind=relative&low=5&high=300&half_life=36"],
  ["registry-studies", "/admin/settings/registry?tab=studies"],
  ["registry-shadow", "/admin/settings/registry?tab=shadow"],
  ["calibration", "/admin/calibration"],
];

// Pages that the server makes by itself: nothing comes alive on them.
const PLAIN: [name: string, path: string][] = [
  ["account", "/account"],
  ["users", "/admin/users"],
  ["audit", "/admin/audit"],
  ["audit-none", "/admin/audit?text=nothing-is-called-this"],
  ["retention", "/admin/settings/retention"],
];

for (const theme of ["light", "dark"] as const) {
  test.describe(theme, () => {
    test.beforeEach(async ({ context, baseURL }) => {
      await context.addCookies([{ name: "theme", value: theme, url: baseURL! }]);
    });

    for (const [name, path] of SCREENS) {
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
  test.setTimeout(180_000);
  await page.goto("/clients");
  const person = await page.locator("tbody th a").first().getAttribute("href");
  const about = (person ?? "").replace("/clients/", "/admin/people/");
  const plain: [string, string][] = [...PLAIN, ["person-rights", about]];
  await page.goto("/clients?metric=hrv_rmssd");
  const why = (await page.locator("td.reading a.badge-link").first().getAttribute("href")) ?? "/clients";
  const screens: [string, string][] = [
    ...SCREENS,
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
  }
});
