//! The proxies of `packaging/`, with the project's own files, in front of the real program: what reaches it, and what does
//! not. Where nginx or Caddy is not installed, the test says so. Only names, ports and certificates of the files are changed.

use crate::process::{ADMIN, Assay, Database, PASSWORD, SECRET, daily, eventually, free_port, send, signature};
use crate::visitors;
use reqwest::{Client, redirect::Policy};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NAME: &str = "assay.example.com";

/// The program's path, where it is installed.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin";
    let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: {program} is not here");
    }
    found
}

/// A proxy on free ports with a certificate of its own; it ends with the test.
struct Proxy {
    child: Child,
    dir: PathBuf,
    https: u16,
    http: u16,
}

impl Proxy {
    /// A folder with a certificate.
    fn prepare(name: &str) -> (PathBuf, u16, u16) {
        let dir = std::env::temp_dir().join(format!("assay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let subject = format!("/CN={NAME}");
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject, "-keyout", "key.pem", "-out", "cert.pem",
            ])
            .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (dir, free_port(), free_port())
    }

    fn packaged(file: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)).unwrap()
    }

    /// Each of the replacements must find something: the file under test is the packaged one.
    fn adapted(text: &str, changes: &[(&str, String)]) -> String {
        changes.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the packaged file has no {from:?} any more");
            text.replace(from, to)
        })
    }

    fn nginx(program: &Path, upstream: &str, (dir, https, http): (PathBuf, u16, u16)) -> Self {
        let place = dir.display();
        let site = Self::adapted(
            &Self::packaged("nginx.conf"),
            &[
                ("server 127.0.0.1:3000 max_fails=0;", format!("server {upstream} max_fails=0;")),
                ("    listen [::]:80;\n", String::new()),
                ("    listen [::]:443 ssl;\n", String::new()),
                ("listen 80;", format!("listen 127.0.0.1:{http};")),
                ("listen 443 ssl;", format!("listen 127.0.0.1:{https} ssl;")),
                ("/etc/letsencrypt/live/assay.example.com/fullchain.pem", format!("{place}/cert.pem")),
                ("/etc/letsencrypt/live/assay.example.com/privkey.pem", format!("{place}/key.pem")),
            ],
        );
        std::fs::write(dir.join("site.conf"), site).unwrap();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|t| format!("{t}_temp_path {place}/{t};")).join("\n");
        let whole = format!(
            "daemon off;\npid {place}/pid;\nerror_log {place}/log warn;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}\ninclude {place}/site.conf;\n}}\n"
        );
        std::fs::write(dir.join("nginx.conf"), whole).unwrap();
        let with = |test: &[&str]| {
            let mut command = Command::new(program);
            command.arg("-p").arg(&dir).arg("-e").arg(dir.join("log")).arg("-c").arg(dir.join("nginx.conf")).args(test);
            command
        };
        let checked = with(&["-t"]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let child = with(&[]).stdin(Stdio::null()).spawn().unwrap();
        Self { child, dir, https, http }
    }

    fn caddy(program: &Path, upstream: &str, (dir, https, http): (PathBuf, u16, u16)) -> Self {
        let place = dir.display();
        let site = Self::adapted(
            &Self::packaged("Caddyfile"),
            &[
                ("assay.example.com {\n", format!("https://{NAME}:{https} {{\n\tbind 127.0.0.1\n\ttls {place}/cert.pem {place}/key.pem\n")),
                ("reverse_proxy 127.0.0.1:3000", format!("reverse_proxy {upstream}")),
            ],
        );
        let global = format!(
            "{{\n\tadmin off\n\thttp_port {http}\n\thttps_port {https}\n\tdefault_bind 127.0.0.1\n\tstorage file_system {place}/caddy\n}}\n"
        );
        std::fs::write(dir.join("Caddyfile"), global + &site).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(dir.join("Caddyfile")).env("HOME", &dir);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, dir, https, http }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// A browser, or Terra, somewhere else in the world: at 127.0.0.2.
    fn visitor(&self) -> Client {
        Client::builder()
            .danger_accept_invalid_certs(true)
            .resolve(NAME, (Ipv4Addr::LOCALHOST, self.https).into())
            .local_address(IpAddr::from([127, 0, 0, 2]))
            .redirect(Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap()
    }

    fn url(&self) -> String {
        format!("https://{NAME}:{}", self.https)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx has children of its own, which end with a request to stop, not with the death of their parent.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_with_the_packaged_site_passes_what_the_program_needs() {
    if let Some(program) = find("nginx") {
        everything_passes("nginx", |upstream, prepared| Proxy::nginx(&program, upstream, prepared)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_with_the_packaged_site_passes_what_the_program_needs() {
    if let Some(program) = find("caddy") {
        everything_passes("caddy", |upstream, prepared| Proxy::caddy(&program, upstream, prepared)).await;
    }
}

async fn everything_passes(name: &str, start: impl FnOnce(&str, (PathBuf, u16, u16)) -> Proxy) {
    let database = Database::new().await;
    let prepared = Proxy::prepare(name);
    let public = format!("https://{NAME}:{}", prepared.1);
    let assay = Assay::start_with(&database, &[("ASSAY_PUBLIC_URL", &public), ("ASSAY_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let proxy = start(assay.address.trim_start_matches("http://"), prepared);
    let visitor = proxy.visitor();
    eventually("the proxy answers", 20, async || {
        visitor.get(format!("{}/healthz", proxy.url())).send().await.is_ok_and(|r| r.status() == 200)
    })
    .await;
    inside_stays_inside(&proxy, &visitor).await;
    deliveries_arrive_as_they_were_signed(&proxy, &visitor).await;
    let cookie = cookies_are_those_of_https_and_addresses_are_true(&proxy, &visitor, &database).await;
    events_are_not_held_back(&proxy, &visitor, &assay, &cookie).await;
}

async fn inside_stays_inside(proxy: &Proxy, visitor: &Client) {
    for path in ["/metrics", "/readyz"] {
        assert_eq!(visitor.get(format!("{}{path}", proxy.url())).send().await.unwrap().status(), 403, "{path}\n{}", proxy.log());
    }
    // Who comes over http is led to https.
    let plain = Client::builder()
        .resolve(NAME, (Ipv4Addr::LOCALHOST, proxy.http).into())
        .redirect(Policy::none())
        .build()
        .unwrap()
        .get(format!("http://{NAME}:{}/clients", proxy.http))
        .send()
        .await
        .unwrap();
    assert!(plain.status().is_redirection(), "{}", plain.status());
    let to = plain.headers()["location"].to_str().unwrap();
    assert!(to.starts_with("https://assay.example.com") && to.ends_with("/clients"), "{to}");
}

async fn deliveries_arrive_as_they_were_signed(proxy: &Proxy, visitor: &Client) {
    let answer = send(visitor, &proxy.url(), "through-the-proxy", &daily("behind-a-proxy", "2026-11-20", 4321)).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", proxy.log());
    assert!(answer.headers().contains_key("x-request-id"));
    let padded = |bytes: usize| format!("{{\"type\":\"healthcheck\",\"padding\":\"{}\"}}", "x".repeat(bytes));
    // Nearly 16 MiB are taken; what is larger is refused by the program, in its own words; far larger, by the proxy.
    for (bytes, status, words) in [(15 << 20, 200, ""), ((16 << 20) + 1000, 413, "too_large"), (20 << 20, 413, "")] {
        let body = padded(bytes);
        let request = visitor
            .post(format!("{}/functions/v1/webhook-terra", proxy.url()))
            .header("terra-signature", signature(SECRET, body.as_bytes()))
            .body(body);
        match request.send().await {
            Ok(answer) => {
                assert_eq!(answer.status(), status, "{bytes} bytes\n{}", proxy.log());
                assert!(answer.text().await.unwrap().contains(words), "{bytes} bytes");
            }
            // Who turns a body away before all of it was sent may close the connection.
            Err(e) => assert!(bytes == 20 << 20, "{bytes} bytes: {e:?}\n{}", proxy.log()),
        }
    }
}

/// Gives the cookie of an administrator.
async fn cookies_are_those_of_https_and_addresses_are_true(proxy: &Proxy, visitor: &Client, database: &Database) -> String {
    let login = async |password: &str, origin: &str| {
        visitor
            .post(format!("{}/login", proxy.url()))
            .header("origin", origin)
            // What a caller claims about itself.
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "http")
            .form(&[("email", ADMIN), ("password", password), ("next", "")])
            .send()
            .await
            .unwrap()
    };
    assert_eq!(login(PASSWORD, "https://elsewhere.example.com").await.status(), 403, "a form of another site");
    let answer = login(PASSWORD, &proxy.url()).await;
    assert_eq!(answer.status(), 303, "{}", proxy.log());
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-") && cookie.contains("; Secure"), "{cookie}");
    let page = visitor.get(format!("{}/admin", proxy.url())).header("cookie", cookie.split(';').next().unwrap()).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let mut conn = database.connect().await;
    let address: Option<String> = sqlx::query_scalar("SELECT address FROM audit_log WHERE action LIKE 'login%' ORDER BY at DESC LIMIT 1")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(address.as_deref(), Some("127.0.0.2"), "the visitor's own address, not the proxy's and not the claimed one");
    cookie.split(';').next().unwrap().to_owned()
}

async fn events_are_not_held_back(proxy: &Proxy, visitor: &Client, assay: &Assay, cookie: &str) {
    let mut events = visitor.get(format!("{}/live", proxy.url())).header("cookie", cookie).send().await.unwrap();
    assert_eq!(events.status(), 200);
    assert!(events.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let direct = Client::new();
    let mut said = String::new();
    // A delivery a second, until one is heard of.
    for n in 0..15 {
        send(&direct, &assay.address, &format!("news-{n}"), &daily("behind-a-proxy", "2026-11-21", 5000 + n)).await.unwrap();
        if let Ok(chunk) = tokio::time::timeout(Duration::from_secs(1), events.chunk()).await {
            said += &String::from_utf8_lossy(&chunk.unwrap().expect("the stream goes on"));
        }
        if said.contains("event:") {
            return;
        }
    }
    panic!("no event within 15 s: {said:?}\n{}", proxy.log());
}

/// A customer of IPv6 has a /64, more addresses than anybody could try: it is one caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_from_many_addresses_of_one_ipv6_customer_are_limited_as_one() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let proxy = visitors::client();
    let tried = async |address: String, n: usize| {
        let email = format!("somebody{n}@example.com");
        let answer = proxy
            .post(format!("{}/login", assay.address))
            .header("origin", &assay.address)
            .header("x-forwarded-for", address)
            .form(&[("email", email.as_str()), ("password", "not this one either"), ("next", "")])
            .send()
            .await
            .unwrap();
        answer.headers()["location"].to_str().unwrap().rsplit_once("error=").unwrap().1.to_owned()
    };
    // One more is let in every six seconds, so on a busy machine the limit comes a little later.
    let mut admitted = 0;
    while tried(format!("2001:db8:1:2::{admitted:x}"), admitted).await == "invalid" {
        admitted += 1;
        assert!(admitted < 60, "nothing limits them");
    }
    assert!(admitted >= 10, "the first ten are admitted: {admitted}");
    assert_eq!(tried("2001:db8:1:2:ffff::1".into(), 100).await, "limited");
    assert_eq!(tried("2001:db8:1:3::1".into(), 101).await, "invalid", "the next customer is another caller");
    let mut conn = database.connect().await;
    let noted: i64 = sqlx::query_scalar("SELECT count(DISTINCT address) FROM audit_log WHERE action = 'login.failed'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(usize::try_from(noted).unwrap(), admitted + 1, "the audit log has each address in full");
}
