// What is done about accounts says that it was done, and what cannot simply be taken back is asked first.
import { accessible, alive, expect, test } from "../fixtures";

test("whoever changes a password is told that it was changed", async ({ page, browser, baseURL }) => {
  const email = `account-${Date.now()}@example.test`;
  await page.goto("/admin/users");
  await page.getByLabel("E-mail", { exact: true }).fill(email);
  await page.getByLabel("Name", { exact: true }).fill("Ada Account");
  await page.getByRole("button", { name: "Make the link" }).click();
  const link = new URL((await page.locator("main code").textContent())!);

  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const theirs = await context.newPage();
  await theirs.goto(link.pathname);
  await theirs.getByLabel("New password").fill("four unrelated words of mine");
  await theirs.getByRole("button", { name: "Set password" }).click();
  await expect(theirs).toHaveURL(/\/login\?notice=password_set/);
  await alive(theirs);
  await theirs.getByLabel("E-mail address").fill(email);
  await theirs.getByLabel("Password").fill("four unrelated words of mine");
  await theirs.getByRole("button", { name: "Log in" }).click();
  await expect(theirs).toHaveURL(/\/clients$/);
  await theirs.goto("/account");
  await expect(theirs.locator("main").getByRole("status")).toHaveCount(0);
  await theirs.getByLabel("Present password").first().fill("four unrelated words of mine");
  await theirs.getByLabel("New password").fill("four other words of mine");
  await theirs.getByRole("button", { name: "Change password" }).click();
  await expect(theirs.locator("main").getByRole("status")).toHaveText("Your password was changed. All other sessions ended.");
  await accessible(theirs);
  await context.close();

  // An administrator is asked before somebody becomes one too.
  await page.goto("/admin/users");
  const row = page.locator("tbody tr").filter({ hasText: email });
  await row.getByRole("link", { name: "Make administrator…" }).click();
  await expect(page.locator("main")).toContainText(`Make ${email} an administrator?`);
  await accessible(page);
  await page.getByRole("link", { name: "Keep as it is" }).click();
  await expect(row).toContainText("trainer");
  await row.getByRole("button", { name: "Shut out" }).click();
  await expect(page.locator("main").getByRole("status")).toContainText("The account was shut out.");
});
