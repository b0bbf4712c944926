// The database of the system with data, for what a test has to plant there, and the test event that brings news.
import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { expect, type APIRequestContext } from "@playwright/test";

export function sql(text: string) {
  const { PG_BIN, ASSAY_TEST_DATABASE_URL } = process.env;
  const database = ASSAY_TEST_DATABASE_URL!.replace(/\/[^/]*$/, "/assay_test_end2end");
  return execFileSync(`${PG_BIN}/psql`, ["-qAt", "-v", "ON_ERROR_STOP=1", database, "-c", text]).toString().trim();
}

/** Jobs that wait until tomorrow, for a person who is nobody. */
export function plantWaiting(n: number, person: string) {
  sql(`INSERT INTO background_jobs (type, payload, scheduled_at, user_id)
       SELECT 'log_rollup', '{}', now() + interval '1 day', '${person}' FROM generate_series(1, ${n})`);
}

/** Jobs that are out of attempts, with their dead letters; they are counted as the program counts. */
export function plantFailed(n: number, error: string) {
  sql(`INSERT INTO background_jobs (type, payload, scheduled_at, error, attempts)
         SELECT 'log_rollup', '{}', now() + interval '1 day', '${error}', 5 FROM generate_series(1, ${n});
       UPDATE background_jobs SET status = 'failed', failed_at = now(), completed_at = now() WHERE error = '${error}' AND status = 'pending';
       INSERT INTO job_count_deltas (type, status, delta) VALUES ('log_rollup', 'pending', -${n}), ('log_rollup', 'failed', ${n})`);
}

/** A line of the log, written down now. */
export function plantLine(message: string, person?: string) {
  sql(`INSERT INTO edge_function_logs (timestamp, level, function_name, message, user_id)
       VALUES (clock_timestamp(), 'info', 'planted', '${message}', ${person ? `'${person}'` : "NULL"})`);
}

/** Sends a test event: deliveries, jobs and scores change. `more` may name a person and a day. */
export async function testEvent(request: APIRequestContext, baseURL: string | undefined, type = "daily", more: { userId?: string; date?: string } = {}) {
  const sent = await request.post(`${baseURL}/functions/v1/terra-webhook-test`, {
    headers: { authorization: `Bearer ${process.env.ASSAY_SERVICE_KEY}` },
    data: { type, provider: "WHOOP", ...more },
  });
  expect(sent.ok()).toBe(true);
}

/** Sends a delivery as Terra does, signed with the secret that scripts/end2end.sh gives the server. */
export async function deliver(request: APIRequestContext, baseURL: string | undefined, body: object) {
  const [data, seconds] = [JSON.stringify(body), Math.floor(Date.now() / 1000)];
  const signature = createHmac("sha256", "end2end-signing-secret").update(`${seconds}.${data}`).digest("hex");
  const sent = await request.post(`${baseURL}/functions/v1/webhook-terra`, {
    headers: { "content-type": "application/json", "terra-signature": `t=${seconds},v1=${signature}` },
    data: Buffer.from(data),
  });
  expect(sent.ok()).toBe(true);
}
