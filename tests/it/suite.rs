//! How `make test` counts: a test that ended early because something is not there did not pass, and is named.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Two programs of tests, as libtest reports them with `--show-output`.
const LOG: &str = "
running 3 tests
test a::one ... ok
test a::two ... ok
test a::three ... ok

successes:

---- a::one stdout ----
skipped: no data at /nowhere
skipped: no data at /nowhere

---- a::two stdout ----
2 deliveries read, 1 skipped: all well


successes:
    a::one
    a::two
    a::three

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 2 tests
test b::four ... FAILED
test b::five ... ok

successes:

---- b::five stdout ----
skipped: nginx is not here


successes:
    b::five

failures:

---- b::four stdout ----
skipped: in vain
thread 'b::four' panicked at here

failures:
    b::four

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

fn counted(log: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rust-results.awk");
    let mut child = Command::new("awk").arg("-f").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_test_that_ended_early_is_counted_as_skipped_and_named() {
    assert_eq!(counted(LOG), "2 1 3\na::one: no data at /nowhere\nb::five: nginx is not here\n");
}

#[test]
fn a_run_without_any_test_passed_nothing() {
    assert_eq!(counted("error: could not compile `assay`\n"), "0 0 0\n");
}
