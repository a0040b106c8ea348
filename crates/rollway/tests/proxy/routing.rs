//! Which instance gets a request.

use rollway::proxy::table::{Preview, Rule, Sticky, Tester};

use super::*;

#[tokio::test]
async fn host_and_path_choose_the_service() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (shop, api, other) = (
        Instance::start("shop").await,
        Instance::start("api").await,
        Instance::start("other").await,
    );
    let rule = |host: Option<&str>, path: Option<&str>| Rule {
        host: host.map(str::to_owned),
        path: path.map(str::to_owned),
    };
    for (name, instance, rules) in [
        ("shop", &shop, vec![rule(Some("shop.test"), None)]),
        ("api", &api, vec![rule(Some("shop.test"), Some("/api"))]),
        ("other", &other, vec![rule(Some("*.other.test"), None)]),
    ] {
        let mut table = table(address, vec![arm(1, 100, &[instance])]);
        name.clone_into(&mut table.service);
        table.rules = rules;
        proxy.applied(&table).await;
    }
    let mut client = Client::connect(address).await;
    for (host, path, want) in [
        ("shop.test", "/", (200, "shop")),
        ("SHOP.test:1", "/api/x", (200, "api")),
        ("shop.test", "/apix", (200, "shop")),
        ("a.other.test", "/", (200, "other")),
        ("unknown.test", "/", (404, "no service here\n")),
    ] {
        let (status, body) = client.get(path, &[("host", host)]).await;
        assert_eq!((status, body.as_str()), want, "{host}{path}");
    }
    assert_eq!(fetch(address, "/api/..%2fx", &[]).await.0, 400);
    // A second service cannot take what the first has.
    let mut thief = table(address, vec![]);
    thief.service = "thief".to_owned();
    thief.rules = vec![rule(Some("Shop.test"), Some("/api/"))];
    let (status, answer) = proxy.apply(&thief).await;
    assert_eq!(status, 400);
    let what = answer["problems"][0]["what"].as_str().unwrap();
    assert!(what.ends_with("shop.test/api belongs to service api already"), "{what}");
}

#[tokio::test]
async fn anonymous_clients_are_split_by_weight() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 90, &[&a]), arm(2, 10, &[&b])]);
    table.newest = Some(2);
    proxy.applied(&table).await;
    let mut client = Client::connect(address).await;
    for _ in 0..4_000 {
        assert_eq!(client.get("/", &[]).await.0, 200);
    }
    // Five standard deviations of 4,000 draws at 10 % are 95.
    assert!((305..=495).contains(&b.seen()), "{}", b.seen());
    assert_eq!(a.seen() + b.seen(), 4_000);
}

#[tokio::test]
async fn testers_and_the_preview_reach_the_newest() {
    let (proxy, address, preview) = (Proxy::start().await, free_address(), free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a]), arm(2, 0, &[&b])]);
    table.newest = Some(2);
    table.testers = vec![Tester { header: "X-Team".into(), value: "us".into() }];
    table.preview = Some(Preview { listen: preview.to_string(), release: 2 });
    proxy.applied(&table).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/", &[]).await.1, "a");
    assert_eq!(client.get("/", &[("x-team", "them")]).await.1, "a");
    assert_eq!(client.get("/", &[("x-team", "us")]).await.1, "b");
    assert_eq!(fetch(preview, "/", &[]).await.1, "b");
    table.preview = None;
    table.revision = 1;
    proxy.applied(&table).await;
    assert!(TcpStream::connect(preview).await.is_err(), "nobody listens there any more");
}

async fn new_cookie(address: SocketAddr) -> (String, String) {
    let response = Client::connect(address).await.send(get("/", &[])).await.unwrap();
    let line = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{line}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let cookie = line.split(';').next().unwrap().to_owned();
    (cookie, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_known_client_moves_only_once_while_the_weight_grows() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a]), arm(2, 0, &[&b])]);
    table.newest = Some(2);
    table.sticky = Some(Sticky::Cookie("release".to_owned()));
    proxy.applied(&table).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(new_cookie(address).await);
    }
    for (revision, weight) in [(1, 20), (2, 50), (3, 80), (4, 100)] {
        table.revision = revision;
        table.arms = vec![arm(1, 100 - weight, &[&a]), arm(2, weight, &[&b])];
        proxy.applied(&table).await;
        if weight == 50 {
            proxy.restart().await;
        }
        let mut connection = Client::connect(address).await;
        for (cookie, was) in &mut clients {
            for _ in 0..3 {
                let (_, now) = connection.get("/", &[("cookie", cookie)]).await;
                assert!(was != "b" || now == "b", "{cookie} went back to {now} at {weight}");
                *was = now;
            }
        }
        let moved = clients.iter().filter(|(_, now)| now == "b").count();
        assert!(weight < 100 || moved == clients.len());
        assert!(weight != 50 || (5..45).contains(&moved), "{moved} of 50 at {weight} %");
    }
    let forged = [("cookie", "release=0000000000000000.00000000000000000000000000000000")];
    let response = Client::connect(address).await.send(get("/", &forged)).await.unwrap();
    assert!(response.headers().contains_key("set-cookie"), "a forged cookie is replaced");
}

#[tokio::test]
async fn a_header_makes_a_client_known_too() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 50, &[&a]), arm(2, 50, &[&b])]);
    table.newest = Some(2);
    table.sticky = Some(Sticky::Header("X-User".to_owned()));
    proxy.applied(&table).await;
    let mut connection = Client::connect(address).await;
    let mut before = Vec::new();
    for user in 0..40 {
        before.push(connection.get("/", &[("x-user", &user.to_string())]).await.1);
    }
    assert!(before.contains(&"a".to_owned()) && before.contains(&"b".to_owned()));
    proxy.restart().await;
    let mut connection = Client::connect(address).await;
    for (user, was) in before.iter().enumerate() {
        assert_eq!(&connection.get("/", &[("x-user", &user.to_string())]).await.1, was);
    }
}

#[tokio::test]
async fn what_an_instance_is_told_of_the_client() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    proxy.applied(&table(address, vec![arm(1, 100, &[&a])])).await;
    let lies = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("connection", "keep-alive, X-Auth"),
        ("x-auth", "for this hop"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("x-kept", "yes"),
    ];
    let (_, seen) = fetch(address, "/headers", &lies).await;
    expect_test::expect![[r"
        forwarded: for=127.0.0.1;proto=http
        host: shop.test
        x-forwarded-for: 127.0.0.1
        x-forwarded-host: shop.test
        x-forwarded-proto: http
        x-kept: yes"]]
    .assert_eq(&seen);
}
