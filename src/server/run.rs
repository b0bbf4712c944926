//! Start and stop. Each part is started once the one below it stands, and stopped in the reverse order: first nothing
//! new is let in, then what was accepted is flushed and what was begun is finished, then the database goes.

use super::{Services, config::Config, database, door, listen, live::Live, router, start_error::StartError, threads::JobThreads};
use crate::access::{first_admin, session, site::Site};
use crate::gateway::{Gateway, GatewaySettings, Outcome, Secrets, trial};
use crate::health::{Answered, Monitor};
use crate::jobs;
use crate::model::Role;
use crate::outbound;
use crate::quality::registry::Registry;
use crate::store::{audit::Actor, sessions};
use axum::http::{HeaderMap, header};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The connections of the jobs are waited for so long; the worker has stopped by then.
const CLOSING: Duration = Duration::from_secs(10);

/// Runs the program until it is told to stop.
///
/// # Errors
/// One sentence when it cannot start.
pub async fn serve(mut config: Config) -> Result<(), StartError> {
    let mut signals = listen::StopSignal::catch();
    let listener = listen::bind(config.addr).await?;
    let leptos = super::leptos_options::find(config.addr)?;
    let site = Site::new(config.public_url.as_deref())?;
    let opened = tokio::select! {
        opened = database::open(&config) => opened?,
        () = signals.came() => return Ok(()), // dropping what was opened so far stops a server of our own
    };
    database::complete_secrets(&mut config)?;
    for off in config.switched_off() {
        tracing::warn!("{off}");
    }
    let logins =
        first_admin::ensure(&opened.db, config.admin_email.as_deref(), config.admin_password.as_ref().map(|p| p.expose()), config.demo)
            .await
            .map_err(|e| StartError::first_admin(&e))?;
    prepare_tables(&opened.db).await;

    let (cancel, node) = (CancellationToken::new(), Uuid::now_v7());
    // The logbook outlives whoever writes into it, and ends before the pools.
    let end_of_log = CancellationToken::new();
    let log = crate::logbook::start(opened.db.service().clone(), end_of_log.clone());
    let reads = tokio::spawn(crate::store::cache_reads::keep_adding(opened.db.service().clone(), end_of_log.clone()));
    let terra = terra_client(&config)?;
    let rules = outbound::FetchRules { hosts: config.payload_hosts.clone(), ..outbound::FetchRules::default() };
    let kinds = jobs::kinds::with_terra(terra.clone()).with(jobs::kinds::S3Fetch::with(outbound::Fetcher::new(rules)));
    let settings = GatewaySettings { authorise: Some(administrators(&opened.db, &site)), ..gateway_settings(&config, node) };
    let gateway = Gateway::new(opened.db.clone(), settings);
    let threads = if config.role.works() { Some(JobThreads::start()?) } else { None };
    let settings = jobs::Settings { node: node_name(), role: config.role.word().into(), ..jobs::Settings::default() };
    let jobs_db = threads.as_ref().map(|_| opened.db.for_jobs(database::job_connections(&settings)));
    let mut worker = threads.as_ref().zip(jobs_db.as_ref()).map(|(threads, db)| {
        let _there = threads.enter();
        jobs::Worker::spawn(db.clone(), kinds.clone(), settings, cancel.child_token())
    });
    if let Some(worker) = &mut worker {
        // So that the first health snapshot already sees it; a database that is slow today must not hold the start up.
        let _ = tokio::time::timeout(Duration::from_secs(2), worker.arrived()).await;
    }
    let services = Arc::new(Services {
        db: opened.db.clone(),
        jobs_db: jobs_db.clone(),
        monitor: Monitor::spawn(opened.db.clone(), config.data_dir.clone(), answered(&gateway), cancel.child_token()),
        live: Live::spawn(opened.db.clone(), cancel.child_token()),
        gateway: Arc::clone(&gateway),
        site,
        terra,
        kinds,
        config,
    });
    let app = router::build(Arc::clone(&services), leptos)?;
    let front = router::Front::new(Arc::clone(&gateway), app.clone());
    let server = tokio::spawn(door::open(listener, app, front, cancel.clone())?);
    greet(&services, logins.as_ref());
    let demo = demo_secret(&services.config).map(|secret| {
        let (db, address, token) = (services.db.clone(), services.config.local_address(), cancel.child_token());
        tokio::spawn(async move { super::simulation::demo(db, &address, &secret, token).await })
    });

    signals.came().await;
    tracing::info!("stopping: finishing what was begun");
    cancel.cancel();
    let finish = async move {
        if let Some(demo) = demo {
            let _ = demo.await;
        }
        // Open event streams end with the token; a browser that keeps its connection for other reasons is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(5), server).await;
        gateway.shutdown().await;
        if let Some(worker) = worker {
            worker.stopped().await;
        }
        end_of_log.cancel();
        let _ = log.await; // it keeps its own time limit
        let _ = reads.await; // so does this
        if let Some(db) = jobs_db {
            // The jobs' own connections only; the others are shared, and waited for once.
            let _ = tokio::time::timeout(CLOSING, db.service().close()).await;
        }
        opened.close().await;
    };
    tokio::select! {
        () = finish => tracing::info!("stopped"),
        // What was accepted is durable, and jobs run again. A server of our own is stopped by dropping it.
        () = signals.again() => tracing::warn!("told to stop again: what was begun is not waited for"),
    }
    Ok(())
}

/// What the gateway answered so far, as health asks for it.
fn answered(gateway: &Arc<Gateway>) -> impl Fn() -> Answered + Send + Sync + use<> {
    let gateway = Arc::clone(gateway);
    move || {
        let sum = |these: &[Outcome]| gateway.totals().iter().filter(|(o, _)| these.contains(o)).map(|(_, n)| n).sum();
        let stored = [Outcome::Accepted, Outcome::Duplicate, Outcome::Conflict, Outcome::Ignored, Outcome::Invalid];
        Answered { stored: sum(&stored), unavailable: sum(&[Outcome::Unavailable]), no_secret: !gateway.can_verify() }
    }
}

fn gateway_settings(config: &Config, node: Uuid) -> GatewaySettings {
    GatewaySettings {
        secrets: Secrets::new(config.signing_secrets.iter().map(|s| s.expose())),
        service_key: config.service_key.as_ref().map(|k| k.expose().to_owned()),
        tolerance: u32::try_from(config.signature_tolerance.as_secs()).unwrap_or(300),
        trusted_proxies: config.trusted_proxies.clone(),
        allow_list: config.terra_addresses.clone(),
        sender_rate: config.sender_rate,
        node: node.to_string(),
        ..GatewaySettings::default()
    }
}

/// The second way to open the test endpoint: an administrator's session, from a page of this site. A browser says where
/// a request comes from; one with our cookie that does not is refused.
fn administrators(db: &crate::store::Db, site: &Site) -> trial::Authorise {
    let (db, site) = (db.clone(), site.clone());
    Arc::new(move |headers: &HeaderMap| {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let ours = text(header::ORIGIN).is_some_and(|origin| site.is_ours(origin, text(header::HOST)));
        let (db, token) = (db.clone(), session::token_of(headers, &site).filter(|_| ours));
        Box::pin(async move {
            match sessions::find(&db, &token?, session::IDLE_SECONDS).await {
                Ok(found) => {
                    let admin = found.filter(|f| f.caller.role == Role::Admin && !f.must_enrol)?;
                    Some(Actor::of(&admin.caller, None, None))
                }
                Err(error) => {
                    tracing::warn!(%error, "a session could not be looked up");
                    None
                }
            }
        })
    })
}

/// The client of Terra's REST side, where it is configured.
pub(super) fn terra_client(config: &Config) -> Result<Option<outbound::Client>, String> {
    let Some((key, dev_id)) = &config.terra_api else { return Ok(None) };
    outbound::Client::new(&config.terra_api_url, key.expose(), dev_id).map(Some).map_err(|e| format!("TERRA_API_URL cannot be used: {e}."))
}

/// What people call this process: the machine's name and the process id.
fn node_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "node".into());
    format!("{}:{}", host.trim(), std::process::id())
}

/// The secret the demonstration signs with; `None`: no demonstration, or nothing to sign with.
fn demo_secret(config: &Config) -> Option<String> {
    let secret = config.signing_secrets.first().map(|s| s.expose().to_owned());
    if config.demo && secret.is_none() {
        tracing::warn!("no simulated clients: there is no signing secret to sign with");
    }
    secret.filter(|_| config.demo)
}

/// What the registry knows is put where SQL can join it. A failure here costs the source choice, not the start.
async fn prepare_tables(db: &crate::store::Db) {
    let ranks = Registry::built_in().source_ranks();
    let metrics: Vec<String> = ranks.iter().map(|(metric, _, _)| metric.key().to_owned()).collect();
    let (sources, ranks): (Vec<String>, Vec<i32>) = ranks.into_iter().map(|(_, source, rank)| (source, rank)).unzip();
    if let Err(error) = crate::store::source_ranks::put(db.service(), &metrics, &sources, &ranks).await {
        tracing::warn!(%error, "the evidence ranks of sources were not written");
    }
}

/// The address and, once, the first logins: to standard output, never to the log.
fn greet(services: &Services, logins: Option<&first_admin::FirstLogins>) {
    let address = services.config.public_address();
    println!("\nAssay is running at {address}");
    if let Some(logins) = logins {
        println!("  administrator   {}", logins.email);
        if let Some(password) = &logins.password {
            println!("  password        {password}   (shown once; change it under {address}/account)");
        }
        for (email, password) in &logins.trainers {
            println!("  trainer         {email}   {password}");
        }
    }
    if services.config.demo {
        println!("  Simulated clients are filling it; their data are marked as simulated.");
    }
    println!("  Stop with Ctrl-C.\n");
}
