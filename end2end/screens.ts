// Every page there is, for the tests that walk over them: name for the picture, and address.
export const SCREENS: [name: string, path: string][] = [
  ["status", "/status"],
  ["login", "/login?error=invalid&next=%2Fadmin"],
  ["admin", "/admin"],
  ["clients", "/clients"],
  ["clients-metric", "/clients?metric=hrv_rmssd"],
  ["jobs", "/admin/jobs"],
  ["dead-letters", "/admin/dead-letters"],
  ["webhooks", "/admin/webhooks"],
  ["webhooks-refused", "/admin/webhooks?tab=refused"],
  ["webhooks-replay", "/admin/webhooks?tab=replay"],
  ["webhooks-test", "/admin/webhooks?tab=test"],
  ["logs", "/admin/logs"],
  ["logs-audit", "/admin/logs?tab=audit"],
  ["nodes", "/admin/nodes"],
  ["schedules", "/admin/schedules"],
  ["kinds", "/admin/kinds"],
  ["limits", "/admin/limits"],
  ["connections", "/admin/connections"],
  ["trainers", "/admin/trainers"],
  ["settings", "/admin/settings"],
  ["registry", "/admin/settings/registry"],
  ["registry-studies", "/admin/settings/registry?tab=studies"],
  ["registry-shadow", "/admin/settings/registry?tab=shadow"],
  ["calibration", "/admin/calibration"],
];

/** What they say where there is nothing yet, by name; the others have something from the start. */
export const EMPTY: Record<string, string> = {
  admin: "Nothing has arrived yet",
  clients: "Nobody here yet",
  "dead-letters": "No job is out of attempts.",
  webhooks: "Nothing has been delivered yet.",
  "webhooks-refused": "Nothing was turned away in the last 24 hours.",
  connections: "Nobody is connected yet.",
  trainers: "There is no trainer yet.",
  calibration: "No report was made yet.",
};

/** Those that have rows in a system with data. */
export const FULL = ["admin", "clients", "clients-metric", "jobs", "webhooks", "logs", "logs-audit", "nodes", "schedules", "kinds", "connections",
  "trainers", "registry", "registry-studies"];

/** Lists under a filter that nothing matches. */
export const NOTHING_FOUND: [name: string, path: string][] = [
  ["clients-none", "/clients?q=nobody-is-called-this"],
  ["jobs-none", "/admin/jobs?q=user%3Anobody-is-called-this"],
  ["dead-letters-none", "/admin/dead-letters?kind=no-such-kind"],
  ["webhooks-none", "/admin/webhooks?q=user%3Anobody-is-called-this"],
  ["webhooks-refused-none", "/admin/webhooks?tab=refused&since=1h"],
  ["logs-none", "/admin/logs?q=nobody-wrote-this"],
  ["logs-audit-none", "/admin/logs?tab=audit&q=nobody-did-this"],
  ["connections-none", "/admin/connections?q=user%3Anobody-is-called-this"],
];

/** Pages about one thing, which is not there in a system that is empty. */
export const DETAILS: [name: string, path: string][] = [
  ["job", "/admin/jobs/00000000-0000-7000-8000-000000000001"],
  ["delivery", "/admin/webhooks/00000000-0000-7000-8000-000000000001"],
  ["person", "/clients/somebody"],
  ["metric", "/clients/somebody/steps"],
  ["why", "/clients/somebody/steps/2026-11-01"],
  ["person-activity", "/clients/somebody?tab=activity"],
];

/** A page with something special open on it. */
export const SPECIAL: [name: string, path: string][] = [
  ["webhooks-replay-ask", "/admin/webhooks?tab=replay&ask=replay"],
  ["webhooks-test-dry", "/admin/webhooks?tab=test&dry=1&type=daily&provider=WHOOP"],
  ["registry-metric", "/admin/settings/registry/hrv_rmssd?tolerance=12&kind=relative&low=5&high=300&half_life=36"],
];

/** Pages that the server makes by itself: nothing comes alive on them. */
export const PLAIN: [name: string, path: string][] = [
  ["account", "/account"],
  ["preferences", "/preferences"],
  ["users", "/admin/users"],
  ["connect", "/admin/connect"],
  ["audit", "/admin/audit"],
  ["audit-none", "/admin/audit?text=nothing-is-called-this"],
  ["retention", "/admin/settings/retention"],
];
