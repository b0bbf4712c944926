//! `docs/CONFIGURATION.md`, made from the definitions of the command line. The test fails when the file is stale;
//! `ASSAY_WRITE_DOCS=1 cargo test --features ssr configuration_reference` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot prepare must stop")]

use super::cli::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;
use std::path::Path;

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn help(arg: &Arg) -> String {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("{}.", text.trim_end_matches('.'))
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if values.is_empty() || !arg.get_action().takes_values() { "–".into() } else { format!("`{}`", values.join(",")) }
}

fn flag(arg: &Arg) -> String {
    let name = arg.get_long().map_or_else(|| arg.get_id().to_string().to_uppercase(), |long| format!("--{long}"));
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values() && arg.get_long().is_some());
    value.map_or(name.clone(), |v| format!("{name} {}", v.join(" ")))
}

fn shown(arg: &&Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn command(out: &mut String, path: &str, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(out, "\n### `{path}`\n\n{}.\n", about.trim_end_matches('.'));
    let args: Vec<&Arg> = command.get_arguments().filter(shown).filter(|a| !a.is_global_set()).collect();
    if !args.is_empty() {
        out.push_str("| option | default | meaning |\n|---|---|---|\n");
        for arg in args {
            let _ = writeln!(out, "| `{}` | {} | {} |", cell(&flag(arg)), default(arg), cell(&help(arg)));
        }
    }
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        self::command(out, &format!("{path} {}", sub.get_name()), sub);
    }
}

fn reference() -> String {
    let cli = Cli::command();
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Made from the program's own definitions. After a change there: ASSAY_WRITE_DOCS=1 cargo test --no-default-features --features ssr configuration_reference -->\n\n\
         Every setting is a flag or an environment variable; a flag wins. There is no configuration file: a unit file, a compose\n\
         file or an env file holds them (see `packaging/`). A malformed value is one clear sentence and exit code 2. An absent\n\
         value switches its part off, and the log, the dashboard and `assay verify` say so. No secret has a default, and none is\n\
         ever printed. An empty value is an absent one.\n\n\
         ## Settings\n\n\
         | variable | flag | default | meaning |\n|---|---|---|---|\n",
    );
    for arg in cli.get_arguments().filter(shown) {
        let env = arg.get_env().map(|e| e.to_string_lossy().into_owned()).expect("every setting has a variable");
        let _ = writeln!(out, "| `{env}` | `{}` | {} | {} |", cell(&flag(arg)), default(arg), cell(&help(arg)));
    }
    out.push_str(
        "| `RUST_LOG` | – | `warn,assay=info` | What the process writes to its log on standard error, by module and level. JSON, unless it is a terminal. |\n\n\
         What an administrator changes while the program runs (tolerances of metrics, retention, pauses of job kinds) lies in the\n\
         database, in `settings` and `job_kinds`, and is changed on `/admin/settings`.\n\n\
         ## Commands\n",
    );
    for sub in cli.get_subcommands().filter(|c| c.get_name() != "help") {
        command(&mut out, &format!("assay {}", sub.get_name()), sub);
    }
    out
}

#[test]
fn configuration_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let wanted = reference();
    if std::env::var_os("ASSAY_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/CONFIGURATION.md is stale: ASSAY_WRITE_DOCS=1 cargo test --no-default-features --features ssr configuration_reference"
    );
}
