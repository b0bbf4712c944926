// What every test has: a page that fails the test on any console message or uncaught error, helpers that wait until
// the page is alive, and an accessibility check with the contrast rule on.
import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

/** Messages the browser writes about an answer's status when a test asks for a missing page on purpose. */
const STATUS_LINE = /^Failed to load resource: the server responded with a status of (40[134]|422|50[03])/;

/** `watch` makes a page that a test opens by itself fail the test as the fixture's own page does. */
export const test = base.extend<{ allowStatusLine: boolean; watch: (page: Page) => void }>({
  allowStatusLine: [false, { option: true }],
  watch: [
    async ({ page, allowStatusLine }, use) => {
      const noise: string[] = [];
      const watch = (watched: Page) => {
        watched.on("console", (message) => {
          if (!(allowStatusLine && STATUS_LINE.test(message.text()))) {
            noise.push(`${message.type()}: ${message.text()}`);
          }
        });
        watched.on("pageerror", (error) => noise.push(`uncaught: ${error.message}`));
      };
      watch(page);
      await use(watch);
      expect(noise, "the console stays silent").toEqual([]);
    },
    { auto: true },
  ],
});

/** Opens a page and waits until it is hydrated, so that clicks reach it. */
export async function open(page: Page, path: string) {
  const response = await page.goto(path);
  await alive(page);
  return response;
}

export async function alive(page: Page) {
  await page.locator("html[data-hydrated]").waitFor();
}

/** Zero violations of WCAG 2.2 A and AA and of the best practices, contrast included. Without preloading, because axe
 * would do that with inline styles, which the page's own policy refuses. */
export async function accessible(page: Page) {
  const { violations } = await new AxeBuilder({ page }).options({ preload: false }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  const found = violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `    ${n.target.join(" ")}: ${n.failureSummary}`).join("\n")}`);
  expect(found.join("\n"), "no accessibility violation").toBe("");
}

/** The page itself never scrolls sideways. */
export async function fits(page: Page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(over, "no sideways scrolling of the page").toBeLessThanOrEqual(0);
}

export { expect };
