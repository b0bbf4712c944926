// What a reader feels: nothing moves while the page comes alive, and how long the browser is busy with that on a slow
// processor. The figures are printed; times are never asserted, movement is bounded.
import { alive, expect, test } from "../fixtures";

type Felt = { shift: number; paint: number; long: number[] };

for (const path of ["/admin", "/admin/jobs", "/admin/webhooks", "/admin/logs", "/admin/nodes", "/clients", "/status"]) {
  test(`${path} comes alive without a shift`, async ({ page, context }) => {
    await page.addInitScript(() => {
      const felt: Felt = { shift: 0, paint: 0, long: [] };
      (window as unknown as { felt: Felt }).felt = felt;
      new PerformanceObserver((list) => {
        for (const e of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) if (!e.hadRecentInput) felt.shift += e.value;
      }).observe({ type: "layout-shift", buffered: true });
      new PerformanceObserver((list) => { for (const e of list.getEntries()) felt.paint = e.startTime; }).observe({ type: "largest-contentful-paint", buffered: true });
      new PerformanceObserver((list) => { for (const e of list.getEntries()) felt.long.push(Math.round(e.duration)); }).observe({ type: "longtask", buffered: true });
    });
    const session = await context.newCDPSession(page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: 4 });
    await page.goto(path);
    await alive(page);
    await page.waitForTimeout(1500);
    const felt = await page.evaluate(() => (window as unknown as { felt: Felt }).felt);
    console.log(`${path} at a quarter of the speed: largest paint ${Math.round(felt.paint)} ms, shift ${felt.shift.toFixed(4)}, long tasks ${JSON.stringify(felt.long)} ms`);
    // The aim is nothing at all; what is left is columns that find their width while a long table is still arriving.
    expect(felt.shift, "next to nothing moves").toBeLessThan(0.05);
  });
}
