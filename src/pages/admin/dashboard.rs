//! The page `/admin`: is the pipeline healthy, what failed, how far can the numbers be trusted, and the buttons to mend it.

use super::{
    AlertView, CancelOperation, CheckRow, JobRow, KindRow, OperationView, Overview, ProviderRow, RecalculateAll, RetryFailedJobs,
    lists::Query,
};
use crate::{
    components::{
        Alert, BarChart, Empty, LineChart, Moment, Panel, Progress, ScoreBadge, ScrollTable, ShareBars, Simulated, Stat, StateChip,
        TimeStamp, menu, text,
    },
    error::AppError,
    pages::{clients::PeopleTable, made::Made},
};
use leptos::{prelude::*, server_fn::ServerFn};

/// The page of an address's query: `range` is 7, 30 or 90 days, `metric` a metric's key.
///
/// # Errors
/// Not an administrator, or the database is away.
pub(super) async fn page(query: &str) -> Result<Made, AppError> {
    let query = Query::parse(query);
    let range = match query.get("range").as_str() {
        "7" => 7_u32,
        "90" => 90,
        _ => 30,
    };
    let metric = query.get("metric");
    let overview = super::load::overview(range, &metric).await?;
    let taken = overview.taken.text.clone();
    let follow = overview.operation.as_ref().is_some_and(|op| op.state == "running");
    Ok(Made { title: "Overview".into(), html: shown(overview, range, metric).to_html(), taken, follow })
}

fn shown(o: Overview, range: u32, metric: String) -> AnyView {
    let running = o.operation.as_ref().is_some_and(|op| op.state == "running");
    let simulated = o.simulated.clone();
    view! {
        <div class="page-head">
            <div>
                <h1>"Data quality"</h1>
                <p class="lead">
                    "How far the numbers can be trusted, and whether the pipeline behind them is alive. "
                    {(!simulated.is_empty()).then(|| view! { <Simulated/>" "{simulated}" made up." })}
                </p>
            </div>
            <div class="page-actions">{(!o.empty).then(|| buttons(o.failed_jobs, running))}</div>
        </div>
        {if o.empty { beginning(o) } else { alive(o, range, metric) }}
    }
    .into_any()
}

/// Before the first delivery: what to do, and whether the system itself is well. No zeros.
fn beginning(o: Overview) -> AnyView {
    view! {
        {invitation()}
        {alerts(o.alerts)}
        <div class="cards">{health_card(o.health, o.checks, o.checked)}</div>
    }
    .into_any()
}

fn alive(o: Overview, range: u32, metric: String) -> AnyView {
    view! {
        {o.operation.map(operation)}
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
                    view! { <LineChart plot=o.plot caption="Average confidence by measured day" heads=["Day", "Average confidence", "Values"]/> }.into_any()
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
                    <BarChart bar=o.arrivals caption="Accepted deliveries by minute"/>
                </Panel>
                {cache_card(o.hit_rate, o.stale, o.hit_of, o.newest_score)}
            </div>
            {sources(o.providers)}
            {activity(o.kinds, o.jobs)}
        })}
    }
    .into_any()
}

fn cache_card(hit_rate: String, stale: String, of: String, newest: Option<Moment>) -> AnyView {
    view! {
        <Panel title="Score cache" id="cache">
            <dl class="stats"><Stat label="Hit rate" value=hit_rate/><Stat label="Older than their value" value=stale/></dl>
            <p class="soft small">{of}</p>
            <p class="soft small">"Last score written: "{match newest {
                Some(at) => view! { <TimeStamp at/> }.into_any(),
                None => "never".into_any(),
            }}</p>
        </Panel>
    }
    .into_any()
}

fn buttons(failed: i64, running: bool) -> AnyView {
    let label = if failed > 0 { format!("Retry Failed Jobs ({})", text::count(failed)) } else { "Retry Failed Jobs".to_owned() };
    view! {
        <div class="actions">
            <form method="post" action=RetryFailedJobs::url()><button class="button" type="submit" disabled=failed == 0>{label}</button></form>
            <form method="post" action=RecalculateAll::url()>
                <button class="button primary" type="submit" disabled=running aria-busy=running.then_some("true")>"Recalculate All"</button>
            </form>
        </div>
    }
    .into_any()
}

fn operation(op: OperationView) -> AnyView {
    let running = op.state == "running";
    view! {
        <section class="panel operation" aria-labelledby="operation">
            <header class="panel-head">
                <h2 id="operation">"Recalculate All"</h2>
                <StateChip state=op.state/>
                <div class="panel-aside">
                    {running.then(|| view! {
                        <form method="post" action=CancelOperation::url()>
                            <input type="hidden" name="id" value=op.id/>
                            <button class="button small" type="submit">"Stop"</button>
                        </form>
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
                <li><strong>"Send a test event"</strong><span><a href="/admin/webhooks?tab=test">"From the form"</a>" or with "<code>"POST /functions/v1/terra-webhook-test"</code></span></li>
                <li><strong>"Connect Terra"</strong><span>"Set TERRA_SIGNING_SECRETS, give Terra the address "<code>"/functions/v1/webhook-terra"</code>", then "<a rel="external" href="/admin/connect">"connect a person"</a></span></li>
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
        "note" => "alert note",
        _ => "alert good",
    };
    let word = |tone: &str| match tone {
        "bad" => "Problem",
        "warn" => "Attention",
        "note" => "Note",
        _ => "All clear",
    };
    view! {
        <section aria-label="Alerts">
            <ul class="alerts">
                {list.into_iter().map(|a| view! {
                    <li class=class(&a.tone)>
                        <strong class="alert-word">{word(&a.tone)}</strong>
                        <span class="alert-body">{a.text}</span>
                        {if a.href.is_empty() { ().into_any() } else { view! { <a rel=menu::rel(&a.href) href=a.href>{a.action}</a> }.into_any() }}
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
                <Stat label="Pending" value=pending href="/admin/jobs?status=pending"/>
                <Stat label="Active" value=processing href="/admin/jobs?status=processing"/>
                <Stat label="Failed" value=failed tone href="/admin/jobs?status=failed"/>
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
                <Stat label="Accepted" value=accepted href="/admin/webhooks?since=24h"/><Stat label="Duplicates" value=duplicate/>
                <Stat label="Refused" value=refused href="/admin/webhooks?tab=refused"/><Stat label="Success" value=success/>
            </dl>
            <p class="soft small">{of}</p>
        </Panel>
    }
    .into_any()
}

fn health_card(health: String, checks: Vec<CheckRow>, checked: Option<Moment>) -> AnyView {
    view! {
        <Panel title="System health" id="health" class="card">
            <p class="figure"><StateChip state=health/></p>
            <ul class="checks">{checks.into_iter().take(5).map(|c| view! { <li><span>{c.name}</span><StateChip state=c.state/></li> }).collect_view()}</ul>
            <p class="soft small">{match checked {
                Some(at) => view! { "Checked "<TimeStamp at/> }.into_any(),
                None => "Not looked at yet: that happens within seconds of the start.".into_any(),
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
        parts.push(format!("metric={}", text::segment(metric)));
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
                                <tr><th scope="row"><a href=format!("/admin/connections?provider={}", text::segment(&p.key))>{p.name}</a></th><td><StateChip state=p.state/></td>
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
            <tbody>{kinds.into_iter().map(|k| { let href = format!("/admin/jobs?kind={}", text::segment(&k.kind)); view! {
                <tr><th scope="row"><a href=href><code>{k.kind}</code></a></th>{k.counts.into_iter().map(|n| view! { <td class="num">{n}</td> }).collect_view()}</tr>
            }}).collect_view()}</tbody>
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
                    <th scope="row"><a href=j.href><code>{j.kind}</code></a>{(!j.error.is_empty()).then(|| view! { <span class="remark">{j.error}</span> })}</th>
                    <td><StateChip state=j.state/></td><td class="when"><TimeStamp at=j.created plain=true/></td><td class="num">{j.took}</td><td class="num">{j.attempts}</td>
                </tr>
            }).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}
