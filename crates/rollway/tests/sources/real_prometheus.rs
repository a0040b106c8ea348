//! A real Prometheus that scrapes a real endpoint, where the program is installed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollway::metrics::{Memory, Question, prometheus};
use rollway_core::analysis::Counters;
use rollway_core::spec::{Access, Prometheus, Wants};
use rollway_core::units::Millis;
use rollway_core::verdict::histogram::bucket;

use crate::server::{Server, question};

/// On however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file())
}

/// Starts it over a folder, on a port that is free just now.
fn start(program: &Path, folder: &Path, scraped: &Server) -> (Running, String) {
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs: [{{job_name: shop, static_configs: [{{targets: [\"{}\"]}}]}}]\n",
        scraped.address
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    (Running(child), format!("http://{address}"))
}

#[expect(clippy::print_stdout, reason = "a reader of the test's output wants to know")]
fn say(what: &str) {
    println!("{what}");
}

#[tokio::test]
async fn a_real_prometheus_is_scraped_and_queried() {
    let Some(program) = program() else {
        say("skipped: there is no program `prometheus` here");
        return;
    };
    let total = Arc::new(AtomicU64::new(100));
    let now = Arc::clone(&total);
    let scraped = Server::new(move |_| {
        let total = now.load(Ordering::SeqCst);
        let text = format!(
            "# TYPE requests_total counter\n\
             requests_total{{release=\"2\",code=\"200\"}} {total}\n\
             requests_total{{release=\"2\",code=\"500\"}} 4\n\
             requests_total{{release=\"1\",code=\"200\"}} 2000\n\
             # TYPE took_seconds histogram\n\
             took_seconds_bucket{{release=\"2\",le=\"0.1\"}} 4\n\
             took_seconds_bucket{{release=\"2\",le=\"+Inf\"}} {total}\n\
             took_seconds_bucket{{release=\"1\",le=\"0.1\"}} 1900\n\
             took_seconds_bucket{{release=\"1\",le=\"+Inf\"}} 2000\n"
        );
        (200, text)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (_running, address) = start(&program, folder.path(), &scraped);
    let source = Prometheus {
        address,
        total: Some(r#"requests_total{release="{{release}}"}"#.to_owned()),
        bad: Some(r#"requests_total{release="{{release}}",code=~"5.."} or vector(0)"#.to_owned()),
        latency: Some(r#"took_seconds_bucket{release="{{release}}"}"#.to_owned()),
        value: None,
        access: Access::default(),
        timeout: Millis::seconds(10),
    };
    let (memory, began) = (Memory::default(), Instant::now());
    let mut wanted = 104;
    loop {
        let found = prometheus::ask(&source, &question(), &memory).await;
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        match &found {
            Ok(both) if both.canary.total == wanted && wanted == 104 => {
                assert_eq!((both.canary.bad, both.baseline.total, both.baseline.bad), (4, 2000, 0));
                // The process behind it has begun anew: what it counts from now on comes on top.
                total.store(7, Ordering::SeqCst);
                wanted = 111;
            }
            Ok(both) if both.canary.total == wanted => break,
            Ok(_) | Err(_) => {}
        }
        assert!(began.elapsed() < PATIENCE, "{found:?}\n{}", log());
        tokio::time::sleep(LOOK).await;
    }
    // A histogram is read as it is scraped: 4 of 7 were fast, and 1900 of 2000.
    let wants = Wants { counts: false, latency: true, value: false, baseline: true };
    let asked = Question { wants, ..question() };
    let both = prometheus::ask(&source, &asked, &Memory::default()).await.unwrap();
    let counted = |seconds| {
        let of = |release: &Counters| release.latency.counts()[bucket(seconds)];
        [of(&both.canary), of(&both.baseline)]
    };
    assert_eq!([counted(0.1), counted(0.2)], [[4, 1900], [3, 100]]);
    let wrong = Prometheus { bad: Some("nothing_of_this_name".to_owned()), ..source };
    let why = prometheus::ask(&wrong, &question(), &memory).await.unwrap_err();
    assert!(why.contains("nothing was found"), "{why}");
    let wrong = Prometheus { bad: Some("sum(".to_owned()), ..wrong };
    let why = prometheus::ask(&wrong, &question(), &memory).await.unwrap_err();
    assert!(why.contains("Prometheus refuses it: "), "{why}");
    say(&format!("{} told the counters of both releases", program.display()));
}
