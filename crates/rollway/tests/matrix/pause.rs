//! A control plane that is stopped, and what another one and a late effect of it can do.

use std::process::Stdio;
use std::time::Duration;

use rollway::driver::{Ensured, Fence, Setup, StopOrder, named};
use rollway::unix_http;
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName};
use rollway_core::units::Millis;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::shop::Shop;
use crate::world::World;

const RATE: u32 = 200;
const CANARY: &str = "{canary: {steps: [{weight: 50}, {hold: 300ms}]}}";

/// Longer than any wait of an engine, a driver or the proxy, in a slow run.
fn pause() -> Duration {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    if slow { Duration::from_secs(35) } else { Duration::from_secs(2) }
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn while_one_is_stopped_there_is_no_second_and_then_it_goes_on() {
    let world = World::new().await;
    world.roll_out(&Shop::new(2, CANARY), "v1").await;
    let load = world.load(RATE);
    // While it is stopped time goes on: a deadline that passes then is missed, as it should be.
    let shop = Shop::new(2, CANARY).update("healthy_deadline: 90s");
    let number = world.deploy(&shop, "v2").await;
    let pid = world.control_plane_pid().unwrap();
    signal(pid, Signal::STOP);
    let second = world.serve_command().stderr(Stdio::piped()).spawn().unwrap();
    let second = tokio::task::spawn_blocking(|| second.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "a second one began: {said}");
    assert!(said.contains(&format!("in use by process {pid}")), "{said}");
    tokio::time::sleep(pause()).await;
    signal(pid, Signal::CONT);
    world.completed(number).await;
    world.none_lost(load).await;
    world.assert_started_once();
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn what_a_stopped_one_still_wanted_is_refused_once_another_has_taken_over() {
    let mut world = World::new().await;
    world.roll_out(&Shop::new(2, "rolling"), "v1").await;
    world.roll_out(&Shop::new(2, "rolling"), "v2").await;
    let load = world.load(RATE);
    let table = proxy_table(&world).await;
    let old = Generation(table["table"]["generation"].as_u64().unwrap());
    signal(world.control_plane_pid().unwrap(), Signal::STOP);
    world.kill_control_plane();
    world.start_control_plane().await;
    world.roll_out(&Shop::new(2, "rolling"), "v3").await;

    let setup = Setup { state: world.state(), program: env!("CARGO_BIN_EXE_rollway").into() };
    let driver = named("process", &setup).unwrap();
    let fence = Fence { service: ServiceName::parse("shop").unwrap(), generation: old };
    let order = StopOrder { signal: "SIGTERM".into(), timeout: Millis(5_000) };
    for slot in 0..2 {
        let instance = InstanceId { release: ReleaseNumber(3), slot };
        let stopped = driver.stop(&fence, instance, &order).await.unwrap();
        assert!(matches!(stopped, Ensured::Stale { seen } if seen > old), "{stopped:?}");
    }
    let body = serde_json::to_vec(&table["table"]).unwrap();
    let socket = world.state();
    let path = "/v1/services/shop";
    let (status, answer) =
        unix_http::request((&socket, "proxy.sock"), http::Method::PUT, path, body).await.unwrap();
    assert_eq!(status, http::StatusCode::CONFLICT, "{}", String::from_utf8_lossy(&answer));

    assert_eq!(world.pids(3).await.len(), 2);
    world.none_lost(load).await;
    world.assert_started_once();
    world.verify_history().await;
    world.ends_in_order().await;
}

async fn proxy_table(world: &World) -> Value {
    let state = world.state();
    let socket = (state.as_path(), "proxy.sock");
    let answer = unix_http::request(socket, http::Method::GET, "/v1/services/shop", vec![]).await;
    serde_json::from_slice(&answer.unwrap().1).unwrap()
}
