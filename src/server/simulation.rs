//! The demonstration's simulated clients, and `assay simulate`.
//!
//! Persons are marked as simulated before their first delivery. What they send comes in through the front door, signed,
//! like anybody's.

use super::{config::Config, database};
use crate::access::first_admin;
use crate::calibration::simulator::{PREFIX, World};
use crate::feed::{SimulateArgs, SimulateOptions, simulate};
use crate::store::{Db, audit::Actor, erase, simulated};
use chrono::DateTime;
use tokio_util::sync::CancellationToken;

/// Marks the world's persons, and gives them to the demonstration's trainers where there are any.
async fn prepare(db: &Db, world: &World) -> sqlx::Result<()> {
    let clients = world.clients();
    let ids: Vec<String> = clients.iter().map(|c| c.user_id.clone()).collect();
    let names: Vec<String> = clients.iter().map(|c| c.name.clone()).collect();
    simulated::mark(db.service(), &ids, &names).await?;
    first_admin::assign_demo_clients(db).await?;
    Ok(())
}

/// Fills the running system and goes on live until cancelled. A second start sends only what is due since the first.
pub async fn demo(db: Db, address: &str, secret: &str, cancel: CancellationToken) {
    let mut options = SimulateOptions::demo(address, secret);
    let result = async {
        let sent = simulated::newest_delivery(db.service(), PREFIX).await?;
        options.since = sent.and_then(DateTime::from_timestamp_millis);
        prepare(&db, &options.world(chrono::Utc::now())).await
    }
    .await;
    if let Err(error) = result {
        tracing::warn!(%error, "the simulated clients could not be prepared");
        return;
    }
    match simulate(options, cancel).await {
        Ok(summary) => tracing::info!("simulated clients: {summary}"),
        Err(error) => tracing::warn!(%error, "the simulated clients stopped"),
    }
}

/// `assay simulate`, beside a running program: needs its database to mark the persons, and its address to send to.
///
/// # Errors
/// One sentence.
pub async fn command(config: &Config, args: SimulateArgs) -> Result<(), String> {
    let opened = database::open_running(config).await?;
    let result = run(&opened.db, config, args).await;
    opened.close().await;
    result
}

async fn run(db: &Db, config: &Config, args: SimulateArgs) -> Result<(), String> {
    let plain = |e: sqlx::Error| format!("the database refused: {e}.");
    if args.clear {
        let persons = simulated::all(db.service()).await.map_err(plain)?;
        for (n, person) in persons.iter().enumerate() {
            erase::erase_person(db, &Actor::system(), person).await.map_err(plain)?;
            eprint!("\r{} of {} simulated persons removed", n + 1, persons.len());
        }
        eprintln!("{}", if persons.is_empty() { "there are no simulated persons" } else { "" });
        return Ok(());
    }
    let secret = database::signing_secret(config, args.secret.as_deref())?;
    let options = args.options(&config.local_address(), &secret);
    prepare(db, &options.world(chrono::Utc::now())).await.map_err(plain)?;
    let summary = simulate(options, super::listen::cancelled_by_signal()).await.map_err(|e| format!("{e}."))?;
    println!("{summary}");
    Ok(())
}
