//! Power cuts under a whole control plane, with its proxy and instances: every deployment that was
//! acknowledged is in the history afterwards, and the service comes back in one version.

use std::fs;
use std::time::Duration;

use rollway_core::view::{DeploymentView, ServiceView};

use crate::cell::{INSTANCES, Strategy};
use crate::disk::{Disk, not_here};
use crate::world::World;

/// The power is cut this soon after a deployment began, at most.
const MOMENT_MAX_MS: u64 = 600;

fn cuts() -> u32 {
    if std::env::var_os("RUN_SLOW_TESTS").is_some() { 12 } else { 1 }
}

#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
#[tokio::test]
async fn acknowledged_deployments_are_there_after_a_power_cut() {
    let mut world = World::without_control_plane();
    fs::create_dir(world.state()).unwrap();
    let disk = match Disk::at(tempfile::tempdir().unwrap(), world.state()) {
        Ok(disk) => disk,
        Err(why) => return not_here("power cuts under a control plane", &why),
    };
    world.start_control_plane().await;
    world.roll_out(&Strategy::Rolling.shop(), "v0").await;
    let mut acknowledged = Vec::new();
    for cut in 1..=cuts() {
        let strategy = Strategy::ALL[cut as usize % Strategy::ALL.len()];
        let (version, plug) = (format!("v{cut}"), disk.plug().unwrap());
        let number = world.deploy(&strategy.shop(), &version).await;
        acknowledged.push((number, version.clone()));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..MOMENT_MAX_MS))).await;
        plug.pull().unwrap();
        // Without a disk nothing may be promised any more; if it is, it has to be kept.
        let late = format!("late-{cut}");
        if let Ok(view) = world.try_deploy(&strategy.shop(), &late).await {
            acknowledged.push((view.number, late));
        }
        world.kill_everything();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        world.start_control_plane().await;
        for (number, version) in &acknowledged {
            let path = format!("/v1/services/shop/deployments/{number}");
            let kept = world.get::<DeploymentView>(&path).await;
            let kept = kept.unwrap_or_else(|refused| panic!("shop-{number}: {}", refused.text()));
            assert_eq!(kept.to.version, *version);
        }
        let rests = |view: &ServiceView| {
            let ended = view.deployment.as_ref().is_some_and(|one| one.state.is_terminal());
            ended
                && view.arms.len() == 1
                && view.standby.is_none()
                && view.instances_ready == INSTANCES
        };
        world.wait("the service to be back", rests).await;
        world.verify_history().await;
    }
    eprintln!(
        "{} power cuts under a control plane, {} acknowledged deployments, 0 lost",
        cuts(),
        acknowledged.len()
    );
    world.kill_everything();
    disk.unmount().unwrap();
}
