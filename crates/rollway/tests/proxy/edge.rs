//! What clients may not do, and what they may.

use super::*;

async fn served() -> (Proxy, SocketAddr, Instance) {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    proxy.applied(&table(address, vec![arm(1, 100, &[&a])])).await;
    (proxy, address, a)
}

#[tokio::test]
async fn requests_with_two_readings_end_in_400_and_reach_nobody() {
    let (_proxy, address, a) = served().await;
    for text in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
         Content-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ] {
        let answer = raw(address, text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{text:?} got {answer:?}");
        assert!(!answer.contains("HTTP/1.1 200"), "{text:?} got {answer:?}");
    }
    assert_eq!(a.seen(), 0);
    // What comes before is served, what comes after is not.
    let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n";
    let answer = raw(address, two.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 400"), "{answer}");
    assert_eq!(a.seen(), 1);
}

#[tokio::test]
async fn old_and_plain_clients_are_served() {
    let (_proxy, address, _a) = served().await;
    let answer = raw(address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\na"), "{answer}");
    let absolute = b"GET http://A/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(raw(address, absolute).await.ends_with("\r\n\r\na"));
    let chunked = b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                    Connection: close\r\n\r\n3\r\nabc\r\n2\r\n\n\n\r\n0\r\n\r\n";
    assert!(raw(address, chunked).await.ends_with("\r\n\r\n5"));
    let expecting = b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\
                      Expect: 100-continue\r\nConnection: close\r\n\r\nab";
    let answer = raw(address, expecting).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue") && answer.ends_with('2'), "{answer}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let (_proxy, address, a) = served().await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert!(raw(address, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert!(raw(address, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert_eq!(a.seen(), 0);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    table.body_max = Some(1_000);
    proxy.applied(&table).await;
    // Refused by what it says, before a single byte of it was sent.
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    assert_eq!(a.seen(), 0);
    // Refused by what it is.
    let chunk = format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024));
    let head = "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{chunk}").as_bytes()).await.unwrap();
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    let fits = Request::post("/length").header("host", "a").body(Full::from(vec![0; 1_000]));
    let response = Client::connect(address).await.send(fits.unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "1000");
}

#[tokio::test]
async fn the_administration_is_not_to_be_had_from_outside() {
    let (proxy, address, _a) = served().await;
    assert_eq!(fetch(address, "/v1/services", &[]).await, (200, "a".to_owned()));
    let mode = std::fs::metadata(proxy.socket()).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}
