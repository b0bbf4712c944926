//! Parses the command line and starts what it names; nothing else.

use assay::server::cli::Cli;
use clap::Parser;
use std::process::ExitCode;

/// Gives memory back after a burst; the system's allocator keeps what each thread once held.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    assay::server::cli::main(Cli::try_parse())
}
