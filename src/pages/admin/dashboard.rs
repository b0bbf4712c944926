//! The page `/admin`: is the pipeline healthy, what failed, how far can the numbers be trusted, and the buttons to mend it.

use super::{
    AlertView, CancelOperation, JobRow, KindRow, OperationView, Overview, ProviderRow, RecalculateAll, RetryFailedJobs, load_overview,
};
use crate::{
    components::{
        Alert, Announcer, BarChart, Empty, LineChart, LiveControl, Panel, Progress, ScoreBadge, ScrollTable, ShareBars, Simulated, Stat,
        StateChip, TimeStamp, Trouble, use_live,
    },
    pages::clients::PeopleTable,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

/// What the buttons call; made once, so that a refetch does not reset them.
#[derive(Clone, Copy)]
struct Actions {
    recalculate: ServerAction<RecalculateAll>,
    cancel: ServerAction<CancelOperation>,
    retry: ServerAction<RetryFailedJobs>,
}

/// The dashboard.
#[component]
pub fn Dashboard() -> impl IntoView {
    let query = use_query_map();
    let wish = Memo::new(move |_| {
        let q = query.read();
        let range = match q.get_str("range") {
            Some("7") => 7_u32,
            Some("90") => 90,
            _ => 30,
        };
        (range, q.get_str("metric").unwrap_or_default().to_owned())
    });
    let live = use_live(&["scores", "jobs", "operation", "deliveries"]);
    let actions = Actions { recalculate: ServerAction::new(), cancel: ServerAction::new(), retry: ServerAction::new() };
    let acted = move || (actions.recalculate.version().get(), actions.cancel.version().get(), actions.retry.version().get());
    let data = Resource::new(move || (wish.get(), live.version.get(), acted()), |((range, metric), ..)| load_overview(range, metric));
    let taken = Signal::derive(move || data.get().and_then(Result::ok).map(|d: Overview| d.taken.text));
    say_when_done(data);
    view! {
        <Title text="Overview"/>
        <div class="page">
            <Transition fallback=|| view! { <h1>"Data quality"</h1><p class="soft">"Loading…"</p> }>
                {move || {
                    Suspend::new(async move {
                        match data.await {
                            Ok(overview) => {
                                let head = view! { <LiveControl live taken_at=taken/> }.into_any();
                                shown(overview, actions, wish.get_untracked(), head)
                            }
                            Err(error) => view! { <h1>"Data quality"</h1><Trouble error/> }.into_any(),
                        }
                    })
                }}
            </Transition>
        </div>
    }
}

/// Tells screen readers that a recalculation ended.
fn say_when_done(data: Resource<Result<Overview, crate::error::AppError>>) {
    Effect::new(move |before: Option<bool>| {
        let running = data.get().and_then(Result::ok).and_then(|d| d.operation).is_some_and(|o| o.state == "running");
        if before == Some(true) && !running {
            Announcer::say("The recalculation has ended.");
        }
        running
    });
}

fn shown(o: Overview, actions: Actions, (range, metric): (u32, String), head: AnyView) -> AnyView {
    let running = o.operation.as_ref().is_some_and(|op| op.state == "running");
    view! {
        <div class="page-head">
            <div>
                <h1>"Data quality"</h1>
                <p class="lead">
                    "How far the numbers can be trusted, and whether the pipeline behind them is alive. "
                    {(!o.simulated.is_empty()).then(|| view! { <Simulated/>" "{o.simulated}" people are made up." })}
                </p>
            </div>
            <div class="page-actions">
                {buttons(actions, o.failed_jobs, running)}
                {head}
            </div>
        </div>
        {failure(actions)}
        {o.operation.map(|op| operation(op, actions))}
        {if o.empty { invitation() } else { ().into_any() }}
        {alerts(o.alerts)}
        <div class="cards">
            {queue_card(o.queue, o.oldest)}
            {confidence_card(o.average, o.average_of)}
            {webhook_card(o.webhooks, o.success, o.success_of)}
            {health_card(o.health, o.checks, o.checked)}
        </div>
        <div class="duo">
            <Panel title="Badges of the last 7 days" id="tiers">
                <p class="soft small">"Each row leads to the people behind it."</p>
                <ShareBars rows=o.tiers/>
            </Panel>
            <Panel title="Confidence by day" id="trend" class="wide" aside=range_links(range, &metric)>
                {metric_form(o.metrics, range, metric)}
                {if o.plot.empty {
                    view! { <Empty title="No values in this time"><p>"Choose a longer time or another metric."</p></Empty> }.into_any()
                } else {
                    view! { <LineChart plot=o.plot caption="Average confidence by measured day"/> }.into_any()
                }}
            </Panel>
        </div>
        <Panel title="Least trusted people" id="people" class="flush" aside=view! { <a href="/clients">"All people"</a> }.into_any()>
            {if o.people.is_empty() {
                view! { <Empty title="Nobody was scored in the last 7 days"><p>"People appear here with their first scored value."</p></Empty> }.into_any()
            } else {
                view! { <PeopleTable columns=o.columns rows=o.people/> }.into_any()
            }}
        </Panel>
        {o.advanced.then(|| view! {
            <div class="duo even">
                <Panel title="Arrivals by minute" id="arrivals">
                    <p class="soft small">{o.arrivals_sum}" accepted in the last hour"</p>
                    <BarChart bar=o.arrivals/>
                </Panel>
                <Panel title="Score cache" id="cache">
                    <dl class="stats">
                        <Stat label="Hit rate" value=o.hit_rate/>
                        <Stat label="Older than their value" value=o.stale/>
                    </dl>
                    <p class="soft small">{o.hit_of}</p>
                    <p class="soft small">"Last score written: "{match o.newest_score {
                        Some(at) => view! { <TimeStamp at/> }.into_any(),
                        None => "never".into_any(),
                    }}</p>
                </Panel>
            </div>
            {sources(o.providers)}
            {activity(o.kinds, o.jobs)}
        })}
    }
    .into_any()
}

fn buttons(actions: Actions, failed: i64, running: bool) -> AnyView {
    let retrying = actions.retry.pending();
    let starting = actions.recalculate.pending();
    let label =
        if failed > 0 { format!("Retry Failed Jobs ({})", crate::components::text::count(failed)) } else { "Retry Failed Jobs".to_owned() };
    view! {
        <div class="actions">
            <ActionForm action=actions.retry>
                <button class="button" type="submit" disabled=move || failed == 0 || retrying.get() aria-busy=move || retrying.get().to_string()>{label}</button>
            </ActionForm>
            <ActionForm action=actions.recalculate>
                <button class="button primary" type="submit" disabled=move || running || starting.get() aria-busy=move || (running || starting.get()).to_string()>"Recalculate All"</button>
            </ActionForm>
        </div>
    }
    .into_any()
}

/// Why a button did not work; without JavaScript the redirect's notice says it.
fn failure(actions: Actions) -> AnyView {
    let message = move || {
        let failed = [actions.recalculate.value().get(), actions.cancel.value().get(), actions.retry.value().get()];
        failed.into_iter().flatten().find_map(Result::err).map(|e| e.to_string())
    };
    view! { <div role="alert">{move || message().map(|text| view! { <Alert tone="bad">{text}</Alert> })}</div> }.into_any()
}

fn operation(op: OperationView, actions: Actions) -> AnyView {
    let running = op.state == "running";
    let cancelling = actions.cancel.pending();
    view! {
        <section class="panel operation" aria-labelledby="operation">
            <header class="panel-head">
                <h2 id="operation">"Recalculate All"</h2>
                <StateChip state=op.state/>
                <div class="panel-aside">
                    {running.then(|| view! {
                        <ActionForm action=actions.cancel>
                            <input type="hidden" name="id" value=op.id/>
                            <button class="button small" type="submit" disabled=move || cancelling.get()>"Stop"</button>
                        </ActionForm>
                    })}
                </div>
            </header>
            <Progress label="Recalculated" percent=op.percent/>
            <p class="operation-line">
                <span class="operation-done">{op.done}</span>
                <span class="soft">{op.rate}</span>
                <span class="soft">{op.left}</span>
                {(!op.failed.is_empty()).then(|| view! { <span class="bad-text">{op.failed}" failed"</span> })}
                <span class="soft">"started by "{op.started_by}", "<TimeStamp at=op.started/></span>
            </p>
            {(!op.error.is_empty()).then(|| view! { <Alert tone="bad">{op.error}</Alert> })}
        </section>
    }
    .into_any()
}

fn invitation() -> AnyView {
    view! {
        <Empty title="Nothing has arrived yet">
            <p>"Assay shows what it knows, and it knows nothing so far. Three ways to begin:"</p>
            <ul class="ways">
                <li><strong>"Send a test event"</strong><code>"POST /functions/v1/terra-webhook-test {\"type\":\"daily\",\"provider\":\"WHOOP\"}"</code></li>
                <li><strong>"Connect Terra"</strong>"Set TERRA_SIGNING_SECRETS and give Terra the address "<code>"/functions/v1/webhook-terra"</code></li>
                <li><strong>"Start the demonstration"</strong><code>"ASSAY_DEMO=1 make run"</code></li>
            </ul>
        </Empty>
    }
    .into_any()
}

fn alerts(list: Vec<AlertView>) -> AnyView {
    let class = |tone: &str| match tone {
        "bad" => "alert bad",
        "warn" => "alert warn",
        _ => "alert good",
    };
    let word = |tone: &str| match tone {
        "bad" => "Problem",
        "warn" => "Attention",
        _ => "All clear",
    };
    view! {
        <section aria-label="Alerts">
            <ul class="alerts">
                {list.into_iter().map(|a| view! {
                    <li class=class(&a.tone)>
                        <strong class="alert-word">{word(&a.tone)}</strong>
                        <span class="alert-body">{a.text}</span>
                        {if a.href.is_empty() { ().into_any() } else { view! { <a href=a.href>{a.action}</a> }.into_any() }}
                    </li>
                }).collect_view()}
            </ul>
        </section>
    }
    .into_any()
}

fn queue_card(queue: [String; 3], oldest: String) -> AnyView {
    let [pending, processing, failed] = queue;
    let tone = if failed == "0" { "" } else { "bad" };
    view! {
        <Panel title="Job queue" id="queue" class="card">
            <dl class="stats">
                <Stat label="Pending" value=pending/><Stat label="Active" value=processing/><Stat label="Failed" value=failed tone/>
            </dl>
            <p class="soft small">{oldest}</p>
        </Panel>
    }
    .into_any()
}

fn confidence_card(average: Option<i32>, of: String) -> AnyView {
    view! {
        <Panel title="Average confidence" id="confidence" class="card">
            <p class="figure"><ScoreBadge score=average/></p>
            <p class="soft small">{of}</p>
        </Panel>
    }
    .into_any()
}

fn webhook_card(webhooks: [String; 3], success: String, of: String) -> AnyView {
    let [accepted, duplicate, refused] = webhooks;
    view! {
        <Panel title="Webhooks, 24 h" id="webhooks" class="card">
            <dl class="stats">
                <Stat label="Accepted" value=accepted/><Stat label="Duplicates" value=duplicate/><Stat label="Refused" value=refused/><Stat label="Success" value=success/>
            </dl>
            <p class="soft small">{of}</p>
        </Panel>
    }
    .into_any()
}

fn health_card(health: String, checks: Vec<super::CheckRow>, checked: Option<crate::components::Moment>) -> AnyView {
    view! {
        <Panel title="System health" id="health" class="card">
            <p class="figure"><StateChip state=health/></p>
            <ul class="checks">{checks.into_iter().take(5).map(|c| view! { <li><span>{c.name}</span><StateChip state=c.state/></li> }).collect_view()}</ul>
            <p class="soft small">{match checked {
                Some(at) => view! { "Checked "<TimeStamp at/> }.into_any(),
                None => "Never checked: no leader has run yet.".into_any(),
            }}</p>
        </Panel>
    }
    .into_any()
}

fn trend_href(range: u32, metric: &str) -> String {
    let mut parts = Vec::new();
    if range != 30 {
        parts.push(format!("range={range}"));
    }
    if !metric.is_empty() {
        parts.push(format!("metric={}", crate::components::text::segment(metric)));
    }
    if parts.is_empty() { "/admin#trend".into() } else { format!("/admin?{}#trend", parts.join("&")) }
}

fn range_links(range: u32, metric: &str) -> AnyView {
    view! {
        <nav class="segments" aria-label="Time">
            {[7_u32, 30, 90].map(|r| view! { <a href=trend_href(r, metric) aria-current=(r == range).then_some("true")>{r}" days"</a> }).into_iter().collect_view()}
        </nav>
    }
    .into_any()
}

fn metric_form(metrics: Vec<(String, String)>, range: u32, chosen: String) -> AnyView {
    view! {
        <form class="filter slim" method="get" action="/admin#trend">
            {(range != 30).then(|| view! { <input type="hidden" name="range" value=range/> })}
            <label for="metric">"Metric"</label>
            <select id="metric" name="metric">
                <option value="">"All metrics"</option>
                {metrics.into_iter().map(|(key, name)| { let selected = key == chosen; view! { <option value=key selected=selected>{name}</option> } }).collect_view()}
            </select>
            <button class="button small" type="submit">"Show"</button>
        </form>
    }
    .into_any()
}

fn sources(providers: Vec<ProviderRow>) -> AnyView {
    view! {
        <Panel title="Sources" id="sources" class="flush">
            {if providers.is_empty() {
                view! { <Empty title="No connections yet"><p>"A source appears when Terra reports a person’s connection, or with its first delivery."</p></Empty> }.into_any()
            } else {
                view! {
                    <ScrollTable caption="Sources, their errors and their silence">
                        <thead><tr>
                            <th scope="col">"Source"</th><th scope="col">"State"</th><th scope="col" class="num">"Active"</th>
                            <th scope="col" class="num">"Silent for 2 days"</th><th scope="col" class="num">"Broken"</th><th scope="col">"Last data"</th>
                        </tr></thead>
                        <tbody>{providers.into_iter().map(|p| {
                            let [active, silent, broken] = p.counts;
                            view! {
                                <tr><th scope="row">{p.name}</th><td><StateChip state=p.state/></td>
                                    <td class="num">{active}</td><td class="num">{silent}</td><td class="num">{broken}</td>
                                    <td class="when">{match p.last_data { Some(at) => view! { <TimeStamp at/> }.into_any(), None => view! { <span class="none">"never"</span> }.into_any() }}</td></tr>
                            }
                        }).collect_view()}</tbody>
                    </ScrollTable>
                }.into_any()
            }}
        </Panel>
    }
    .into_any()
}

fn activity(kinds: Vec<KindRow>, jobs: Vec<JobRow>) -> AnyView {
    view! {
        <div class="duo even">
            <Panel title="Jobs by kind" id="kinds" class="flush">
                {if kinds.is_empty() { view! { <Empty title="No jobs yet"><p>"A delivery makes the first."</p></Empty> }.into_any() } else { kind_table(kinds) }}
            </Panel>
            <Panel title="Recent job activity" id="recent" class="flush">
                {if jobs.is_empty() { view! { <Empty title="No jobs yet"><p>"A delivery makes the first."</p></Empty> }.into_any() } else { job_table(jobs) }}
            </Panel>
        </div>
    }
    .into_any()
}

fn kind_table(kinds: Vec<KindRow>) -> AnyView {
    view! {
        <ScrollTable caption="Jobs by kind and state">
            <thead><tr><th scope="col">"Kind"</th><th scope="col" class="num">"Pending"</th><th scope="col" class="num">"Active"</th><th scope="col" class="num">"Failed"</th><th scope="col" class="num">"Completed"</th></tr></thead>
            <tbody>{kinds.into_iter().map(|k| view! {
                <tr><th scope="row"><code>{k.kind}</code></th>{k.counts.into_iter().map(|n| view! { <td class="num">{n}</td> }).collect_view()}</tr>
            }).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

fn job_table(jobs: Vec<JobRow>) -> AnyView {
    view! {
        <ScrollTable caption="The newest jobs">
            <thead><tr><th scope="col">"Kind"</th><th scope="col">"State"</th><th scope="col">"Made"</th><th scope="col" class="num">"Ran"</th><th scope="col" class="num">"Attempts"</th></tr></thead>
            <tbody>{jobs.into_iter().map(|j| view! {
                <tr>
                    <th scope="row"><code>{j.kind}</code>{(!j.error.is_empty()).then(|| view! { <span class="remark">{j.error}</span> })}</th>
                    <td><StateChip state=j.state/></td><td class="when"><TimeStamp at=j.created plain=true/></td><td class="num">{j.took}</td><td class="num">{j.attempts}</td>
                </tr>
            }).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}
