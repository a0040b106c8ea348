//! What lasts longer than a request, and what is not HTTP/1.

use futures_util::{SinkExt, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// Echoes WebSocket messages.
async fn echo() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, task)
}

fn member_at(release: u64, name: &str, address: SocketAddr) -> Arm {
    let members = vec![Member { instance: name.to_owned(), address }];
    Arm { release, version: String::new(), weight: 100, members }
}

#[tokio::test]
async fn a_websocket_works_and_is_told_when_it_is_cut() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let ((a, _a), b) = (echo().await, Instance::start("b").await);
    let mut table = table(address, vec![member_at(1, "a", a)]);
    proxy.applied(&table).await;
    let url = format!("ws://{address}/chat");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for number in 0..100 {
        socket.send(Message::text(format!("{number}"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(format!("{number}")));
    }
    table.revision = 1;
    table.arms = vec![arm(2, 100, &[&b])];
    proxy.applied(&table).await;
    // The switch itself leaves it alone.
    socket.send(Message::text("still there")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still there"));
    let grace = r#"{"instances": ["a"], "stream_grace_ms": 30}"#;
    let (_, drained) = proxy.admin("POST", "/v1/services/shop/drain", grace).await;
    assert_eq!(drained["instances"]["a"]["drained"], true, "{drained}");
    assert_eq!(drained["instances"]["a"]["cut"]["streams"], 1);
    let Some(Ok(Message::Close(Some(close)))) = socket.next().await else {
        panic!("no close frame")
    };
    assert_eq!(u16::from(close.code), 1001);
}

type Events = Arc<tokio::sync::Mutex<Option<mpsc::UnboundedReceiver<&'static str>>>>;
type BoxedBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

async fn event_stream(events: &Events) -> Response<BoxedBody> {
    let mut events = events.lock().await.take().unwrap();
    let stream = futures_util::stream::poll_fn(move |cx| events.poll_recv(cx));
    let frames = stream.map(|text: &'static str| Ok(Frame::data(Bytes::from(text))));
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (proxy, address) = (Proxy::start().await, free_address());
    #[expect(clippy::disallowed_methods, reason = "the test sends only a few")]
    let (events, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver: Events = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service_fn(move |_: Request<Incoming>| {
            let receiver = Arc::clone(&receiver);
            async move { Ok::<_, std::convert::Infallible>(event_stream(&receiver).await) }
        });
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
    proxy.applied(&table(address, vec![member_at(1, "a", instance)])).await;
    let mut client = Client::connect(address).await;
    events.send("data: 1\n\n").unwrap();
    let mut body = client.send(get("/events", &[])).await.unwrap().into_body();
    for next in ["data: 2\n\n", "data: 3\n\n"] {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(b"data: "));
        events.send(next).unwrap();
    }
    let (_, shown) = proxy.admin("GET", "/v1/services/shop", "").await;
    assert_eq!(shown["members"][0]["streams"], 1, "{shown}");
    drop(events);
    let rest = body.collect().await.unwrap().to_bytes();
    assert_eq!(rest, "data: 3\n\n");
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(address: SocketAddr) -> Http2 {
    let stream = TcpStream::connect(address).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    sender
}

#[tokio::test]
async fn http2_is_served_side_by_side() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    proxy.applied(&table(address, vec![arm(1, 100, &[&a])])).await;
    let sender = http2(address).await;
    let held: Vec<_> = (0..10)
        .map(|_| {
            let mut sender = sender.clone();
            let request = Request::get("http://shop.test/hold").body(Full::default()).unwrap();
            tokio::spawn(async move { sender.send_request(request).await.unwrap().status() })
        })
        .collect();
    wait_for("all are at a", async || (a.seen() == 10).then_some(())).await;
    a.gate.add_permits(10);
    for one in held {
        assert_eq!(one.await.unwrap(), 200);
    }
    let request = Request::post("http://shop.test/length").body(Full::from(vec![1; 300_000]));
    let response = sender.clone().send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "300000");
}

#[tokio::test]
async fn grpc_keeps_its_trailers() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let instance = free_address();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve(instance));
    wait_for("the server is there", async || TcpStream::connect(instance).await.ok()).await;
    proxy.applied(&table(address, vec![member_at(1, "a", instance)])).await;
    let mut sender = http2(address).await;
    let mut ask = async |service: &str| {
        // A HealthCheckRequest: field 1, a string; before it the frame of gRPC.
        let length = u8::try_from(service.len()).unwrap();
        let mut message = vec![0, 0, 0, 0, length + 2, 0x0a, length];
        message.extend(service.as_bytes());
        let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::from(message))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let early = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        let late = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        (early.or(late).unwrap(), body.to_bytes())
    };
    let (status, body) = ask("").await;
    assert_eq!((status.to_str().unwrap(), &body[..]), ("0", &[0, 0, 0, 0, 2, 8, 1][..]));
    assert_eq!(ask("unknown").await.0, "5");
}

#[tokio::test]
async fn a_big_upload_and_a_big_download_pass_whole() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service_fn(async |request: Request<Incoming>| {
            // What comes goes back while it comes.
            Ok::<_, hyper::Error>(Response::new(request.into_body()))
        });
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
    proxy.applied(&table(address, vec![member_at(1, "a", instance)])).await;
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let request = Request::post("/").header("host", "a").body(Full::from(sent.clone())).unwrap();
    let response = Client::connect(address).await.send(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), sent);
}
