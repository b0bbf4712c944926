// Every button that mends something, pressed once on what was planted for it, and what is asked before.
import { plantFailed, plantWaiting, sql } from "../database";
import { accessible, expect, open, test } from "../fixtures";

// Words without digits: errors that differ only in numbers are one group.
const word = (what: string) => `planted ${what} ${Date.now().toString(26).replaceAll(/\d/g, (d) => "qrstuvwxyz"[Number(d)])}`;

test("failed jobs are retried from the overview, whose button says how many there are", async ({ page }) => {
  plantFailed(2, word("for the overview"));
  await open(page, "/admin");
  const button = page.getByRole("button", { name: /^Retry Failed Jobs \(\d+\)$/ });
  await button.click();
  await expect(page).toHaveURL(/notice=jobs-retried/);
  await expect(page.locator(".alert.good").first()).toContainText(/\d+ jobs? went back to the queue/);
  // What stands in the document from the start is said as well.
  await expect(page.locator("p[role=status]")).toContainText("went back to the queue");
});

test("one job is retried, another cancelled, and the question gives the focus back", async ({ page }) => {
  const failed = word("to be retried");
  plantFailed(1, failed);
  const id = sql(`SELECT id FROM background_jobs WHERE error = '${failed}'`);
  await open(page, `/admin/jobs/${id}`);
  await expect(page.locator(".alert.bad")).toContainText(failed);
  await page.getByRole("button", { name: /^Retry/ }).click();
  await expect(page).toHaveURL(/notice=jobs-retried/);
  await expect(page.locator(".facts .badge").first()).not.toContainText("failed");

  const person = `planted-${Date.now()}`;
  plantWaiting(1, person);
  await open(page, `/admin/jobs?q=${encodeURIComponent(`user:${person}`)}`);
  await page.locator("tbody th a").first().click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Job: log_rollup");
  const ask = page.getByRole("link", { name: /^Cancel/ });
  await ask.click();
  const question = page.getByRole("dialog");
  await expect(question).toContainText("Cancel this job of kind log_rollup?");
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(question).toHaveCount(0);
  await expect(ask).toBeFocused();
  await ask.click();
  await question.getByRole("button", { name: "Cancel the job" }).click();
  await expect(page).toHaveURL(/notice=jobs-cancelled/);
  await expect(page.locator(".facts .badge").first()).toContainText("cancelled");
});

test("all that match are cancelled after they were counted", async ({ page }) => {
  const person = `planted-${Date.now()}`;
  plantWaiting(3, person);
  await open(page, `/admin/jobs?status=pending&q=${encodeURIComponent(`user:${person}`)}`);
  await page.getByRole("link", { name: "Cancel all 3…" }).click();
  const question = page.getByRole("dialog");
  await expect(question).toContainText("Cancel all 3 jobs that this view shows?");
  await question.getByRole("button", { name: "Cancel 3" }).click();
  await expect(page.locator(".alert.good").first()).toContainText("3 jobs cancelled");
  expect(sql(`SELECT count(*) FROM background_jobs WHERE user_id = '${person}'`)).toBe("0");
});

test("a group of dead letters is brought back, another thrown away with a remark", async ({ page }) => {
  const [back, away] = [word("to come back"), word("to be thrown away")];
  plantFailed(2, back);
  plantFailed(1, away);
  await open(page, "/admin/dead-letters");
  await page.getByRole("link", { name: back }).click();
  await page.getByRole("button", { name: "Bring 2 back" }).first().click();
  await expect(page.locator(".alert.good").first()).toContainText("2 jobs on their way back to the queue");
  await open(page, "/admin/dead-letters");
  await page.getByRole("link", { name: away }).click();
  await page.getByRole("link", { name: "Discard 1…" }).first().click();
  const question = page.getByRole("dialog");
  await question.getByLabel("Why").fill("It was planted by a test.");
  await question.getByRole("button", { name: "Discard 1" }).click();
  await expect(page).toHaveURL(/notice=discard/);
  await expect.poll(() => sql(`SELECT note FROM background_jobs_dlq WHERE error = '${away}' AND discarded_at IS NOT NULL`)).toBe("It was planted by a test.");
  await expect.poll(() => sql(`SELECT count(*) FROM background_jobs_dlq WHERE error = '${back}' AND NOT retried`)).toBe("0");
});

test("a schedule is run now, paused and resumed", async ({ page }) => {
  await open(page, "/admin/schedules");
  const row = page.locator("tbody tr").first();
  const name = sql("SELECT name FROM schedules ORDER BY name LIMIT 1");
  await expect(row).toContainText(name);
  const runs = () => Number(sql(`SELECT runs FROM schedules WHERE name = '${name}'`));
  const before = runs();
  for (const [deed, state] of [["Run now", "active"], ["Pause", "paused"], ["Resume", "active"]] as const) {
    await row.getByRole("button", { name: deed }).click();
    await expect(page.locator(".alert.good").first()).toContainText("Schedule changed");
    await expect(row.locator(".badge").first()).toContainText(state);
    if (deed === "Run now") await expect.poll(runs).toBeGreaterThan(before);
    // The notice of the deed before must not be taken for that of the next.
    await open(page, "/admin/schedules");
  }
});

test("a form that only asks leaves what is not set out of its address", async ({ page }) => {
  await open(page, "/clients");
  await page.getByLabel("With a value that is").selectOption("doubted");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await expect(page).toHaveURL(/\/clients\?.*tier=doubted/);
  expect(new URL(page.url()).searchParams.size, page.url()).toBe([...new URL(page.url()).searchParams.values()].filter((v) => v !== "").length);
  await open(page, "/admin/jobs");
  await page.getByLabel("Search").fill("user:nobody");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await expect(page).toHaveURL("/admin/jobs?q=user%3Anobody");
});
