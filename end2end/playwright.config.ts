// Drives a real Chromium against a running server: ASSAY_BASE_URL, with the first administrator's ASSAY_ADMIN_EMAIL
// and ASSAY_ADMIN_PASSWORD. ASSAY_CHROMIUM names an installed browser; without it Playwright uses its own.
import { defineConfig } from "@playwright/test";

const executablePath = process.env.ASSAY_CHROMIUM || undefined;

export default defineConfig({
  testDir: "./tests",
  outputDir: "./test-results",
  reporter: "line",
  workers: Number(process.env.ASSAY_E2E_WORKERS ?? 1),
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  globalSetup: "./login.setup.ts",
  use: {
    baseURL: process.env.ASSAY_BASE_URL ?? "http://127.0.0.1:3000",
    storageState: "./test-results/admin.json",
    timezoneId: "Europe/Zurich",
    locale: "en-GB",
    launchOptions: {
      executablePath,
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
    },
  },
});
