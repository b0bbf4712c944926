// Every screen where there is nothing yet, and where the database fails, in both themes, with axe. A system of its own
// serves them: ASSAY_EMPTY_URL, with its database for what has to break.
import { execFileSync } from "node:child_process";
import { accessible, alive, expect, open, test } from "../fixtures";
import { DETAILS, EMPTY, SCREENS } from "../screens";

const database = process.env.ASSAY_EMPTY_DATABASE_URL ?? "";
const sql = (text: string) => execFileSync(`${process.env.PG_BIN}/psql`, ["-qAt", "-v", "ON_ERROR_STOP=1", database, "-c", text]).toString();

test.use({ baseURL: process.env.ASSAY_EMPTY_URL, storageState: "./test-results/empty.json", allowStatusLine: true });
test.skip(!database, "needs the empty system that scripts/end2end.sh starts");

const THEMES = ["light", "dark"] as const;
const VIEWS = SCREENS.filter(([name]) => name !== "login");

for (const theme of THEMES) {
  test.describe(`empty, ${theme}`, () => {
    test.beforeEach(async ({ context, baseURL }) => {
      await context.addCookies([{ name: "theme", value: theme, url: baseURL! }]);
    });
    for (const [name, path] of VIEWS) {
      test(`${name} says what to do first`, async ({ page }) => {
        const response = await open(page, path);
        expect(response?.status()).toBe(200);
        await expect(page.getByRole("heading", { level: 1 })).toHaveCount(1);
        if (EMPTY[name]) await expect(page.locator("main")).toContainText(EMPTY[name]);
        await accessible(page);
        if (theme === "light") {
          await page.setViewportSize({ width: 1440, height: 900 });
          await page.screenshot({ path: `screenshots/empty-${name}.png`, fullPage: true });
        }
      });
    }
  });
}

for (const [name, path] of DETAILS) {
  test(`${name} that is not there says so`, async ({ page }) => {
    const response = await open(page, path);
    expect(response?.status()).toBe(404);
    await expect(page.getByRole("alert")).toContainText("does not exist, or is not yours to see");
    await expect(page.getByRole("heading", { level: 1 })).toHaveCount(1);
    await accessible(page);
  });
}

test("an empty overview is an invitation, not zeros", async ({ page }) => {
  await open(page, "/admin");
  await expect(page.getByText("Nothing has arrived yet")).toBeVisible();
  await expect(page.getByRole("link", { name: "From the form" })).toHaveAttribute("href", "/admin/webhooks?tab=test");
  await expect(page.getByText("Average confidence")).toHaveCount(0);
});

test.describe("a failing database", () => {
  // The tables that the pages read are put away; who logs in is still known.
  const AWAY = ["background_jobs", "terra_webhooks_raw", "edge_function_logs", "persons", "connections", "unified_metrics", "metric_confidence_cache", "audit_log",
    "calibration_reports", "job_kinds", "schedules", "workers", "rate_limits"];
  // A table that is called otherwise by now must fail here; what was put away comes back in any case.
  test.beforeAll(() => AWAY.forEach((table) => sql(`ALTER TABLE public.${table} RENAME TO ${table}_away`)));
  test.afterAll(() => AWAY.forEach((table) => sql(`ALTER TABLE IF EXISTS public.${table}_away RENAME TO ${table}`)));

  // What can be shown without these tables, by its heading.
  const WITHOUT: Record<string, string> = {
    status: "Status",
    "dead-letters": "Dead letters",
    "webhooks-refused": "Webhooks",
    "webhooks-replay": "Webhooks",
    "webhooks-test": "Webhooks",
    limits: "Rate limits",
    trainers: "Trainers and clients",
    settings: "Settings",
    registry: "Registry",
    "registry-studies": "Registry",
    "registry-shadow": "Registry",
  };

  for (const [name, path] of VIEWS) {
    test(`${name} says so, or does without`, async ({ page, context, baseURL }) => {
      for (const theme of THEMES) {
        await context.addCookies([{ name: "theme", value: theme, url: baseURL! }]);
        const response = await page.goto(path);
        await alive(page);
        const status = response!.status();
        if (status === 200 && WITHOUT[name]) {
          await expect(page.getByRole("heading", { level: 1 })).toHaveText(WITHOUT[name]);
          await expect(page.getByRole("alert").filter({ hasText: /Request id|does not answer/ })).toHaveCount(0);
        } else {
          expect([500, 503]).toContain(status);
          await expect(page.getByRole("alert")).toContainText(/Request id|does not answer/);
          await expect(page.getByRole("alert").getByRole("link")).toBeVisible();
        }
        await accessible(page);
      }
    });
  }

  for (const [name, path] of DETAILS) {
    test(`${name} says so`, async ({ page }) => {
      const response = await page.goto(path);
      await alive(page);
      expect([500, 503]).toContain(response!.status());
      await expect(page.getByRole("alert")).toContainText(/Request id|does not answer/);
      await accessible(page);
    });
  }
});

test("a database that is away is said in words, and the way back works by itself", async ({ page, baseURL }) => {
  test.setTimeout(120_000);
  const name = database.split("/").at(-1)!;
  // As the superuser: the owner may not end the connections of the other roles.
  const { PG_BIN, PG_DIR, PG_PORT } = process.env;
  const elsewhere = (text: string) => execFileSync(`${PG_BIN}/psql`, ["-qAt", "-h", PG_DIR!, "-p", PG_PORT!, "-U", "postgres", "-d", "postgres", "-c", text]);
  await open(page, "/admin/jobs");
  elsewhere(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  elsewhere(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`);
  try {
    await expect(async () => {
      const response = await page.goto("/admin/jobs");
      expect(response?.status()).toBe(503);
    }).toPass();
    await expect(page.locator("body")).toContainText(/does not answer|try again/i);
    // An open page that asks again is told the same, and not that its session has ended.
    const asked = await page.request.post("/_fn/page", { form: { room: "admin", first: "jobs" }, headers: { origin: baseURL!, accept: "application/json" } });
    expect([asked.status(), (await asked.json()).kind]).toEqual([503, "unavailable"]);
  } finally {
    elsewhere(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  }
  await expect(async () => {
    const response = await page.goto("/admin/jobs");
    expect(response?.status()).toBe(200);
  }).toPass({ timeout: 60_000 });
});
