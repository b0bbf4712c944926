// What a reader feels: nothing moves while the page comes alive, and how long the browser is busy with that on a slow
// processor. The figures are printed; times are never asserted, movement is bounded.
import { get } from "node:http";
import { alive, expect, test } from "../fixtures";
import { SCREENS } from "../screens";

/** The bytes of an answer as they travel, compressed. */
function weight(url: string, cookie = "") {
  return new Promise<number>((resolve, reject) => {
    get(url, { headers: { "accept-encoding": "br", accept: "text/html,*/*", cookie } }, (answer) => {
      if (answer.headers["content-encoding"] !== "br") reject(new Error(`${url} does not come with brotli`));
      let bytes = 0;
      answer.on("data", (part: Buffer) => { bytes += part.length; });
      answer.on("end", () => resolve(bytes));
    }).on("error", reject);
  });
}

test("what a first visit loads stays within its budget", async ({ page, context, baseURL }) => {
  const loaded = new Set<string>();
  page.on("request", (request) => loaded.add(request.url()));
  await page.goto("/admin");
  await alive(page);
  const weigh = async (ending: string) => {
    const sizes = await Promise.all([...loaded].filter((url) => new URL(url).pathname.endsWith(ending)).map((url) => weight(url)));
    expect(sizes.length, ending).toBeGreaterThan(0);
    return sizes.reduce((a, b) => a + b);
  };
  const [wasm, css, js] = [await weigh(".wasm"), await weigh(".css"), await weigh(".js")];
  const cookie = (await context.cookies()).map((c) => `${c.name}=${c.value}`).join("; ");
  const pages: [string, number][] = [];
  for (const [name, path] of SCREENS) pages.push([name, await weight(`${baseURL}${path}`, cookie)]);
  pages.sort((a, b) => b[1] - a[1]);
  console.log(`with brotli: WebAssembly ${wasm}, styles ${css}, scripts ${js} bytes; the heaviest pages ${pages.slice(0, 3).map(([n, b]) => `${n} ${b}`).join(", ")}`);
  expect(wasm, "WebAssembly on the first page, which is all there is").toBeLessThanOrEqual(200_000);
  expect(wasm + js, "WebAssembly and scripts").toBeLessThanOrEqual(300_000);
  expect(css, "styles").toBeLessThanOrEqual(15_000);
  for (const [name, bytes] of pages) expect(bytes, name).toBeLessThanOrEqual(30_000);
});

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
