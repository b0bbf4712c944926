//! Every value in every way it may be written.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn parse(args: &[&str]) -> Result<Config, String> {
    let cli = Cli::try_parse_from([&["assay"], args].concat()).map_err(|e| e.to_string())?;
    cli.options.parse()
}

#[test]
fn a_wrong_value_is_one_sentence_that_names_the_variable() {
    for (arg, name) in [
        ("--site-addr=3000", "LEPTOS_SITE_ADDR"),
        ("--database-url=mysql://x", "DATABASE_URL"),
        ("--process-role=boss", "ASSAY_ROLE"),
        ("--demo=yes", "ASSAY_DEMO"),
        ("--signature-tolerance=-1", "ASSAY_SIGNATURE_TOLERANCE"),
        ("--signature-tolerance=0", "ASSAY_SIGNATURE_TOLERANCE"),
        ("--service-key=short", "ASSAY_SERVICE_KEY"),
        ("--public-url=assay.example.com", "ASSAY_PUBLIC_URL"),
        ("--trusted-proxies=10.0.0.0/99", "ASSAY_TRUSTED_PROXIES"),
        ("--terra-addresses=tryterra.co", "ASSAY_TERRA_ADDRESSES"),
        ("--payload-hosts=https://amazonaws.com/x", "ASSAY_PAYLOAD_HOSTS"),
        ("--payload-hosts=com", "ASSAY_PAYLOAD_HOSTS"),
        ("--payload-hosts=127.0.0.1", "ASSAY_PAYLOAD_HOSTS"),
        ("--sender-rate=0", "ASSAY_SENDER_RATE"),
        ("--terra-api-key=k", "TERRA_DEV_ID"),
    ] {
        let error = parse(&[arg]).err().unwrap_or_default();
        assert!(error.contains(name) && !error.contains('\n'), "{arg}: {error}");
    }
}

#[test]
fn an_empty_value_is_an_absent_one() {
    let empty = ["database-url", "site-addr", "terra-signing-secrets", "terra-api-key", "terra-dev-id", "terra-api-url", "service-key"]
        .into_iter()
        .chain(["secret-key", "admin-email", "admin-password", "demo", "process-role", "data-dir", "public-url", "trusted-proxies"])
        .chain(["terra-addresses", "payload-hosts", "sender-rate", "signature-tolerance", "backup-stamp"])
        .map(|name| format!("--{name}="))
        .collect::<Vec<_>>();
    let config = parse(&empty.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_or_else(|e| unreachable!("{e}"));
    let absent = parse(&[]).unwrap_or_else(|e| unreachable!("{e}"));
    assert_eq!(format!("{config:?}"), format!("{absent:?}"));
    assert_eq!((config.data_dir, config.backup_stamp), (PathBuf::from(".assay"), None));
}

#[test]
fn people_behind_a_proxy_that_is_not_named_are_said_to_count_as_one() {
    let said = |args: &[&str]| {
        let off = parse(args).unwrap_or_else(|e| unreachable!("{e}")).switched_off();
        off.iter().any(|sentence| sentence.contains("ASSAY_TRUSTED_PROXIES"))
    };
    assert!(said(&["--public-url=https://assay.example.com"]));
    assert!(!said(&["--public-url=https://assay.example.com", "--trusted-proxies=127.0.0.1"]));
    assert!(!said(&["--public-url=http://10.0.0.5:3000"]) && !said(&[]));
}

#[test]
fn whom_deliveries_come_from_and_where_payloads_lie_is_configurable() {
    let config =
        parse(&["--terra-addresses=18.133.218.210, 10.0.0.0/8", "--payload-hosts=.S3.Example.com,amazonaws.com", "--sender-rate=600"])
            .unwrap_or_else(|e| unreachable!("{e}"));
    assert!(config.terra_addresses.contains([18, 133, 218, 210].into()) && !config.terra_addresses.contains([18, 133, 218, 211].into()));
    assert_eq!((config.payload_hosts, config.sender_rate), (vec!["s3.example.com".to_owned(), "amazonaws.com".to_owned()], 600));
    let plain = parse(&[]).unwrap_or_else(|e| unreachable!("{e}"));
    assert!(plain.terra_addresses.is_empty());
    assert_eq!((plain.payload_hosts, plain.sender_rate), (vec!["amazonaws.com".to_owned()], 3_000_000));
}

#[test]
fn secrets_rotate_and_never_print() {
    let config = parse(&["--terra-signing-secrets", "first-secret, second-secret,"]).unwrap_or_else(|e| unreachable!("{e}"));
    assert_eq!(config.signing_secrets.len(), 2);
    let printed = format!("{config:?}");
    assert!(!printed.contains("first-secret"));
    assert_eq!(config.switched_off().len(), 3);
    for secret in ["first-secret", "second-secret"] {
        assert!(!format!("{:?}", config.weak()).contains(secret));
    }
}

#[test]
fn weak_and_shared_secrets_are_named_by_their_variable() {
    let weak = |args: &[&str]| parse(args).unwrap_or_else(|e| unreachable!("{e}")).weak();
    assert_eq!(weak(&["--service-key=f3b1c0d97a5e4826", "--secret-key=0123456789abcdefghijklmnopqrstuvwxyz"]).len(), 1);
    assert_eq!(weak(&["--service-key=f3b1c0d97a5e4826"]), Vec::<String>::new());
    assert!(weak(&["--service-key=aaaaaaaaaaaaaaaaaaaa"])[0].contains("ASSAY_SERVICE_KEY"));
    assert!(weak(&["--service-key=f3b1c0d97a5e4826", "--terra-signing-secrets=f3b1c0d97a5e4826"])[0].contains("same"));
    assert!(weak(&["--admin-password=Password1234"])[0].contains("ASSAY_ADMIN_PASSWORD"));
}
