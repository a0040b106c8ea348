//! Switching, draining, retrying: no request is lost that could have been kept.

use std::sync::atomic::AtomicBool;

use super::*;

#[tokio::test]
async fn a_drain_ends_with_the_last_request() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    let mut kept = Client::connect(address).await;
    assert_eq!(kept.get("/", &[]).await.1, "a");
    let held = tokio::spawn(async move { fetch(address, "/hold", &[]).await });
    wait_for("the request is at a", async || (a.seen() == 2).then_some(())).await;
    let (status, _) =
        proxy.admin("POST", "/v1/services/shop/drain", r#"{"instances": ["a"]}"#).await;
    assert_eq!(status, 409, "a still serves");
    table.revision = 1;
    table.arms = vec![arm(2, 100, &[&b])];
    proxy.applied(&table).await;
    // The same connection, and from now on nothing reaches a.
    assert_eq!(kept.get("/", &[]).await.1, "b");
    let short = r#"{"instances": ["gone", "a"], "grace_ms": 60000}"#;
    let socket = proxy.socket();
    let drain = tokio::spawn(async move {
        call(&socket, "POST", "/v1/services/shop/drain", short).await.unwrap()
    });
    let (_, shown) = proxy.admin("GET", "/v1/services/shop", "").await;
    assert_eq!(shown["members"][0]["leaving"], true);
    assert_eq!(shown["members"][0]["requests"], 1);
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    let (_, drained) = drain.await.unwrap();
    assert_eq!(drained["instances"]["a"]["drained"], true);
    assert_eq!(drained["instances"]["a"]["cut"]["requests"], 0);
    assert_eq!(drained["instances"]["gone"]["drained"], true);
    assert_eq!(a.seen(), 2);
}

#[tokio::test]
async fn what_outlives_the_grace_is_cut_and_counted() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    let held = tokio::spawn(async move { fetch(address, "/hold", &[]).await });
    wait_for("the request is at a", async || (a.seen() == 1).then_some(())).await;
    table.revision = 1;
    table.arms = vec![arm(2, 100, &[&b])];
    proxy.applied(&table).await;
    let grace = r#"{"instances": ["a"], "grace_ms": 50, "stream_grace_ms": 50}"#;
    let (_, drained) = proxy.admin("POST", "/v1/services/shop/drain", grace).await;
    assert_eq!(drained["instances"]["a"]["drained"], true, "{drained}");
    assert_eq!(drained["instances"]["a"]["cut"]["requests"], 1);
    assert_eq!(held.await.unwrap().0, 503);
    let (_, metrics) = proxy.admin("GET", "/v1/metrics", "").await;
    assert_eq!(metrics["services"]["shop"]["releases"]["1"]["faults"]["cut"], 1);
}

#[tokio::test]
async fn a_switch_under_load_loses_nothing_and_nothing_comes_late() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut count = 0_u64;
                while !stop.load(Ordering::SeqCst) {
                    let (status, body) = client.get("/", &[]).await;
                    assert_eq!(status, 200, "{body}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for revision in 1..=30 {
        let (serving, leaving) = if revision % 2 == 0 { (&a, &b) } else { (&b, &a) };
        table.revision = revision;
        table.arms = vec![arm(revision, 100, &[serving])];
        proxy.applied(&table).await;
        let drain = format!(r#"{{"instances": ["{}"]}}"#, leaving.name);
        let (_, drained) = proxy.admin("POST", "/v1/services/shop/drain", &drain).await;
        assert_eq!(drained["instances"][&leaving.name]["drained"], true);
        let (late, served) = (leaving.seen(), serving.seen());
        wait_for("the other serves", async || (serving.seen() > served + 20).then_some(())).await;
        assert_eq!(leaving.seen(), late, "a request after the switch was acknowledged");
    }
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    assert_eq!(sent, a.seen() + b.seen());
}

#[tokio::test]
async fn an_instance_that_refuses_costs_nobody_a_request() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, dead) = (Instance::start("a").await, Instance::start("b").await);
    let (dead_address, member) = (dead.address, dead.member());
    dead.stop().await;
    let mut arm = arm(1, 100, &[&a]);
    arm.members.push(member);
    proxy.applied(&table(address, vec![arm])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..50 {
        let post = Request::post("/length").header("host", "shop.test");
        let response = client.send(post.body(Full::from("twelve bytes")).unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "12");
    }
    let (_, metrics) = proxy.admin("GET", "/v1/metrics", "").await;
    let release = &metrics["services"]["shop"]["releases"]["1"];
    // Tried once, then left alone until a probe finds it.
    assert_eq!(release["faults"]["connect"], 1);
    assert_eq!(release["retried"], 1);
    assert_eq!(release["failed"], 0, "no client saw it");
    let back = Instance::start_at("b", dead_address).await;
    wait_for("it is used again", async || {
        fetch(address, "/", &[]).await;
        (back.seen() > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_said_plainly() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let dead = Instance::start("a").await;
    let member = dead.member();
    dead.stop().await;
    let mut only = arm(1, 100, &[]);
    only.members.push(member);
    let mut table = table(address, vec![only]);
    proxy.applied(&table).await;
    assert_eq!(fetch(address, "/", &[]).await, (502, "the service cannot be reached\n".into()));
    table.revision = 1;
    table.arms.clear();
    proxy.applied(&table).await;
    assert_eq!(fetch(address, "/", &[]).await, (503, "no instance is ready\n".into()));
}

/// Answers the first request of each connection, and closes it when the second has come.
async fn moody() -> (SocketAddr, Arc<AtomicU64>) {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, posts) = (socket.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&posts);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let posts = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for answer in [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], b""] {
                    let count = stream.read(&mut buffer).await.unwrap_or(0);
                    posts.fetch_add(
                        u64::from(buffer[..count].starts_with(b"POST")),
                        Ordering::SeqCst,
                    );
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (address, posts)
}

#[tokio::test]
async fn what_was_sent_is_repeated_only_when_that_is_harmless() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (instance, posts) = moody().await;
    let members = vec![Member { instance: "a".to_owned(), address: instance }];
    let arm = Arm { release: 1, version: String::new(), weight: 100, members };
    proxy.applied(&table(address, vec![arm])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/", &[]).await, (200, "ok".to_owned()));
    }
    // One connection of the pool is used up now; the POST on it is lost, and stays lost.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let post = Request::post("/").header("host", "a").body(Full::from("x")).unwrap();
        let response = client.send(post).await.unwrap();
        statuses.push(response.status().as_u16());
        response.into_body().collect().await.unwrap();
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    assert_eq!(posts.load(Ordering::SeqCst), 2, "no POST was sent twice");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    table.response_timeout_ms = 50;
    proxy.applied(&table).await;
    let (status, text) = fetch(address, "/hold", &[]).await;
    assert_eq!((status, text.as_str()), (504, "the service did not answer in time\n"));
    assert_eq!(fetch(address, "/", &[]).await.0, 200);
    let (_, metrics) = proxy.admin("GET", "/v1/metrics", "").await;
    let release = &metrics["services"]["shop"]["releases"]["1"];
    assert_eq!((&release["faults"]["timeout"], &release["failed"]), (&1.into(), &1.into()));
}
