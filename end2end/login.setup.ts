// Logs in once through the form, into the system with data and into the empty one, and keeps the sessions for all tests.
import { chromium, type FullConfig } from "@playwright/test";
import { mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";

export default async function login(config: FullConfig) {
  const { baseURL, launchOptions } = config.projects[0].use;
  const email = process.env.ASSAY_ADMIN_EMAIL;
  const password = process.env.ASSAY_ADMIN_PASSWORD;
  if (!email || !password) {
    throw new Error("ASSAY_ADMIN_EMAIL and ASSAY_ADMIN_PASSWORD must name the administrator of the server under test.");
  }
  const browser = await chromium.launch(launchOptions);
  for (const [url, name] of [[baseURL, "admin.json"], [process.env.ASSAY_EMPTY_URL, "empty.json"]]) {
    if (!url) continue;
    const page = await browser.newPage({ baseURL: url });
    await page.goto("/login?next=/admin");
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForURL("**/admin");
    const state = resolve(__dirname, "test-results", name!);
    mkdirSync(dirname(state), { recursive: true });
    await page.context().storageState({ path: state });
    await page.close();
  }
  await browser.close();
}
