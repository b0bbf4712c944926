//! Parses the command line and starts what it names; nothing else.

use assay::server::cli::Cli;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    assay::server::cli::main(Cli::try_parse())
}
