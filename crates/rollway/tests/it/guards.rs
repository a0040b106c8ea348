//! What is refused, and that it changes nothing.

use http::{Method, StatusCode};
use rollway_core::event::DeploymentState;
use rollway_core::view::{DeployArgs, DeploymentView, VerbArgs};

use crate::shop::Shop;
use crate::world::{World, fetch};

const GATED: &str = "{canary: {steps: [{weight: 50}, {approve: look}]}}";

#[tokio::test]
async fn a_second_control_plane_of_the_same_state_directory_is_refused() {
    let world = World::new().await;
    world.roll_out(&Shop::default(), "v1").await;
    let before = (world.events().await.len(), world.pids(1).await);
    let mut second = world.serve_command();
    second.stderr(std::process::Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || second.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("is in use by process"), "{said}");
    assert_eq!((world.events().await.len(), world.pids(1).await), before);
    assert_eq!(fetch(world.address(), "/").await.unwrap().0, 200);
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_second_deployment_while_one_is_active_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let shop = Shop::new(2, GATED);
    world.roll_out(&shop, "v1").await;
    let number = world.deploy(&shop, "v2").await;
    let view = world.at_gate().await;
    let refused = world.try_deploy(&shop, "v3").await.unwrap_err();
    assert!(refused.status.is_client_error(), "{}", refused.status);
    assert!(refused.text().contains("shop-2 is under way"), "{}", refused.text());
    let scale = VerbArgs { instances: Some(5), ..VerbArgs::default() };
    for (verb, args) in [
        ("scale", scale),
        ("restart", VerbArgs::default()),
        ("down", VerbArgs::default()),
        ("rollback", VerbArgs { to: Some("r1".into()), ..VerbArgs::default() }),
    ] {
        let refused = world.try_verb(verb, args).await.expect_err(verb);
        assert!(refused.text().contains("shop-2 is under way"), "{verb}: {}", refused.text());
    }
    let after = world.view().await;
    assert_eq!((after.arms, after.deployment.map(|it| it.number)), (view.arms, Some(number)));
    // The judge may look at the canary meanwhile: nothing else has happened.
    let events = world.events().await;
    let others = events.iter().filter(|event| event.seq > view.last_seq);
    let others: Vec<&str> = others.map(|event| event.kind.as_str()).collect();
    assert!(others.iter().all(|kind| kind.starts_with("analysis")), "{others:?}");
    world.verb("promote", VerbArgs::default()).await;
    world.completed(number).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn of_fifty_deployments_at_once_exactly_one_is_accepted() {
    let world = World::new().await;
    let shop = Shop::new(1, "rolling").flags("--ready-after 500ms");
    let versions: Vec<String> = (0..50).map(|index| format!("v{index}")).collect();
    let all = versions.iter().map(|version| world.try_deploy(&shop, version));
    let answers = futures_util::future::join_all(all).await;
    let accepted: Vec<&DeploymentView> =
        answers.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
    for refused in answers.iter().filter_map(|one| one.as_ref().err()) {
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text());
        assert!(refused.text().contains("is under way"), "{}", refused.text());
    }
    let done = world.completed(accepted[0].number).await;
    let releases: Vec<serde_json::Value> = world.get("/v1/services/shop/releases").await.unwrap();
    assert_eq!((done.number, releases.len(), world.shops().len()), (1, 1, 1));
    world.assert_started_once();
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_deployment() {
    let mut world = World::new().await;
    let keyed = |world: &World, version: &str| DeployArgs {
        idempotency_key: Some("a key".into()),
        ..world.deploy_args(&Shop::default(), version)
    };
    let deploy = async |world: &World, version: &str| {
        let args = keyed(world, version);
        world.ask::<DeploymentView>(Method::POST, "/v1/deployments", &args).await
    };
    let all = (0..10).map(|_| deploy(&world, "v1"));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().number, 1);
    }
    world.completed(1).await;
    // Also when it is over, and also for the next control plane.
    world.kill_control_plane();
    world.start_control_plane().await;
    let again = deploy(&world, "v1").await.unwrap();
    assert_eq!((again.number, again.state), (1, DeploymentState::Completed));
    let other = deploy(&world, "v2").await.unwrap_err();
    assert!(other.text().contains("another request"), "{}", other.text());
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn an_unchanged_spec_a_taken_port_and_a_missing_program_are_refused() {
    let world = World::new().await;
    world.roll_out(&Shop::default(), "v1").await;
    let seq = world.view().await.last_seq;
    let same = world.try_deploy(&Shop::default(), "v1").await.unwrap_err();
    assert!(same.text().contains("already serves v1"), "{}", same.text());
    let mut args = world.deploy_args(&Shop::default(), "v2");
    args.spec = args.spec.replace("\"./shop\"", "\"./shpo\"");
    let refused = world.ask::<DeploymentView>(Method::POST, "/v1/deployments", &args).await;
    let refused = refused.unwrap_err();
    assert!(refused.text().contains("there is no file"), "{}", refused.text());
    let taken = std::net::TcpListener::bind(world.preview()).unwrap();
    let mut args = world.deploy_args(&Shop::default(), "v2");
    let other = world.preview().to_string();
    args.spec = args.spec.replace(&world.address().to_string(), &other);
    let refused = world.ask::<DeploymentView>(Method::POST, "/v1/deployments", &args).await;
    let refused = refused.unwrap_err();
    assert!(refused.text().contains(&format!("cannot listen on {other}")), "{}", refused.text());
    drop(taken);
    assert_eq!(world.view().await.last_seq, seq);
    world.ends_in_order().await;
}

#[tokio::test]
async fn two_services_do_not_disturb_each_other() {
    let world = World::new().await;
    world.roll_out(&Shop::default(), "v1").await;
    let pids = world.pids(1).await;
    let mut args = world.deploy_args(&Shop::default(), "v9");
    // The name of one is the beginning of the other's.
    args.spec = args.spec.replace("service: shop", "service: shop-1");
    args.spec = args.spec.replace(&world.address().to_string(), &world.preview().to_string());
    let begun = world.ask::<DeploymentView>(Method::POST, "/v1/deployments", &args).await;
    assert_eq!(begun.unwrap().id, "shop-1-1");
    let ready = async || {
        let view: Result<rollway_core::view::ServiceView, _> =
            world.get("/v1/services/shop-1").await;
        view.unwrap().deployment.is_some_and(|one| one.state == DeploymentState::Completed)
    };
    while !ready().await {
        tokio::time::sleep(crate::world::LOOK).await;
    }
    let version = async |address| fetch(address, "/").await.unwrap().1.contains("v9");
    assert!(version(world.preview()).await && !version(world.address()).await);
    let down: Result<serde_json::Value, _> =
        world.ask(Method::POST, "/v1/services/shop-1/down", &VerbArgs::default()).await;
    down.unwrap();
    world.wait_until("the other to be down", || world.shops().len() == 2).await;
    assert_eq!(world.pids(1).await, pids);
    assert!(!version(world.address()).await);
    world.ends_in_order().await;
}
