//! The command line: `serve` (default), `migrate`, `simulate`, `replay`, `verify`, `calibrate`, `user`.
//!
//! A mistake in flags or environment, a taken port, an unreachable database: one sentence on standard error and exit
//! code 2; from `serve` 75, where time may mend it. A command that ran and found something wrong ends with 1.

use super::config::{Config, Options};
use std::process::ExitCode;

/// Assay: how far each number from a wearable can be trusted, and the pipeline behind it.
#[derive(clap::Parser)]
#[command(name = "assay", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serve pages, accept deliveries, run jobs (the default).
    Serve,
    /// Bring the database schema up to date.
    Migrate {
        /// Put back what the checklist's rollback dropped.
        #[arg(long)]
        repair: bool,
    },
    /// Send simulated deliveries to a running Assay.
    Simulate(crate::feed::SimulateArgs),
    /// Send recorded deliveries to a running Assay.
    Replay(crate::feed::ReplayArgs),
    /// Accounts, from the command line.
    User(crate::access::user_command::UserArgs),
    /// Erase a person: every row, raw deliveries too. Prints what went; leaves an audit entry without identity.
    Erase {
        /// Whose data.
        #[arg(long, value_name = "ID")]
        user_id: String,
        /// Really do it; without this nothing is erased.
        #[arg(long)]
        yes: bool,
    },
    /// Judge the scorer on a simulated world whose true values are known, and print the report.
    Calibrate {
        /// Which world.
        #[arg(long, value_name = "N", default_value_t = 77)]
        seed: u64,
        /// How many persons.
        #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=1_000))]
        clients: u32,
        /// How many days each.
        #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(35..=730))]
        days: u32,
        /// Bootstrap draws behind each interval.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=10_000))]
        draws: u32,
        /// A folder with recorded data (`events/`, `wearablehrv/`): adds figures against independent truth.
        #[arg(long, value_name = "DIR")]
        data: Option<std::path::PathBuf>,
        /// Writes the tables into this Markdown file, between its two marks, as docs/SCORING.md has them.
        #[arg(long, value_name = "FILE")]
        write: Option<std::path::PathBuf>,
        /// Keeps the report in the database, for the page /admin/calibration.
        #[arg(long)]
        store: bool,
    },
    /// Verify a deployment: what is there, what works, what is missing.
    Verify(super::verify::VerifyArgs),
}

/// Runs it and says how it ended.
pub fn main(cli: Result<Cli, clap::Error>) -> ExitCode {
    let cli = match cli {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            let _ = e.print(); // --help and --version
            return ExitCode::SUCCESS;
        }
        Err(e) => return refuse(&first_paragraph(&e.to_string())),
    };
    let config = match cli.options.parse() {
        Ok(config) => config,
        Err(sentence) => return refuse(&sentence),
    };
    let command = cli.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Serve) {
        super::memory::lean();
    }
    super::telemetry::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return refuse(&format!("the program's threads could not be started: {e}.")),
    };
    let result = runtime.block_on(run(config, command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(sentence) => refuse(&sentence),
    }
}

/// What clap says, up to the first blank line, in one: below its sentence may stand what it is about.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn refuse(sentence: &str) -> ExitCode {
    end(sentence, 2)
}

fn end(sentence: &str, code: u8) -> ExitCode {
    eprintln!("assay: {sentence}");
    ExitCode::from(code)
}

async fn run(config: Config, command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Serve => serve(config).await,
        Command::Migrate { repair } => {
            let opened = super::database::open_running(&config).await?;
            if repair {
                crate::store::repair(&opened.url).await.map_err(|e| e.sentence)?;
                println!("The schema is current, and what a rollback had dropped is back.");
            } else {
                println!("The schema is current.");
            }
            opened.close().await;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate(args) => super::simulation::command(&config, args).await.map(|()| ExitCode::SUCCESS),
        Command::Replay(args) => replay(&config, args).await,
        Command::User(args) => {
            let opened = super::database::open_running(&config).await?;
            let result = crate::access::user_command::run(&opened.db, args).await;
            opened.close().await;
            result.map(|()| ExitCode::SUCCESS)
        }
        Command::Erase { user_id, yes } => erase(&config, &user_id, yes).await,
        Command::Calibrate { seed, clients, days, draws, data, write, store } => {
            let world = super::calibrate::World { seed, clients, days, draws };
            super::calibrate::run(&config, world, data.as_deref(), write.as_deref(), store).await
        }
        Command::Verify(args) => super::verify::run(&config, args).await,
    }
}

/// The exit code that means: nothing is wrong here, try again later (EX_TEMPFAIL of sysexits.h). Whoever watches over the
/// program starts it again after it, but not after a wrong setting.
const LATER: u8 = 75;

async fn serve(config: Config) -> Result<ExitCode, String> {
    let database = config.database.clone();
    let Err(error) = super::run::serve(config).await else { return Ok(ExitCode::SUCCESS) };
    // The error itself is asked first: a database that was away then may be back by now.
    let later = error.later
        || match database {
            Some(url) => url.is_away().await,
            None => false,
        };
    if later { Ok(end(&error.sentence, LATER)) } else { Err(error.sentence) }
}

/// Sends the files to a running Assay. Exit code 1 when deliveries were not taken.
async fn replay(config: &Config, args: crate::feed::ReplayArgs) -> Result<ExitCode, String> {
    let secret = super::database::signing_secret(config, args.secret.as_deref())?;
    let options = args.options(&config.local_address(), &secret, &config.data_dir).map_err(|e| format!("{e}."))?;
    let summary = crate::feed::replay(options, super::listen::cancelled_by_signal()).await.map_err(|e| format!("{e}."))?;
    println!("{summary}");
    Ok(if summary.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends the person's connections at Terra where its REST side is configured, then erases.
async fn erase(config: &Config, user_id: &str, yes: bool) -> Result<ExitCode, String> {
    if !yes {
        return Err("nothing was erased: this cannot be undone, so say --yes as well.".into());
    }
    let opened = super::database::open_running(config).await?;
    let plain = |e: sqlx::Error| format!("the database refused, and nothing was erased: {e}.");
    let (client, system) = (super::run::terra_client(config)?, crate::store::audit::Actor::system());
    let (left, report) = crate::outbound::erase_person(&opened.db, client.as_ref(), &system, user_id).await.map_err(plain)?;
    for sentence in &left.failed {
        eprintln!("assay: at Terra: {sentence}");
    }
    for (table, rows) in report.rows.iter().filter(|(_, rows)| *rows > 0) {
        println!("{rows:>10} {table}");
    }
    println!("{:>10} rows erased", report.total());
    opened.close().await;
    Ok(ExitCode::SUCCESS)
}
