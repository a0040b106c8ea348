//! What every driver must do.

use rollway::driver::{ALL, Ensured, Launch, Life};
use rollway_core::ids::Generation;

use super::support::{Bench, instance, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn every_driver_conforms() {
    for (name, _) in ALL {
        conforms(&Bench::new(name)).await;
    }
}

async fn conforms(bench: &Bench) {
    let kind = &bench.kind;
    let stale = Ensured::Stale { seen: Generation(6) };
    assert!(bench.observe().await.is_empty(), "{kind}: nothing runs at first");
    assert_eq!(bench.stop(4, 0).await, Ensured::NotNeeded, "{kind}: nothing to stop");

    let mut changes = bench.driver.changes();
    let (first, one) = bench.start(5, &sleeper()).await;
    assert_eq!((first, &one.life), (Ensured::Added, &Life::Running), "{kind}: a start starts");
    assert_eq!(changes.recv().await.unwrap().instance, instance(0), "{kind}: and is told");
    let (second, same) = bench.start(5, &sleeper()).await;
    assert_eq!(second, Ensured::NotNeeded, "{kind}: a second start is none");
    assert_eq!(same.incarnation, one.incarnation, "{kind}: and leaves the instance alone");

    let (other, _) = bench.start(6, &Launch { instance: instance(1), ..sleeper() }).await;
    assert_eq!(other, Ensured::Added, "{kind}: another instance is another instance");
    let seen = bench.observe().await;
    let names: Vec<String> = seen.iter().map(|one| one.instance.to_string()).collect();
    assert_eq!(names, ["r1-0", "r1-1"], "{kind}: both are seen");
    assert_eq!(seen[0].generation, Generation(5), "{kind}: with who started them");

    assert_eq!(bench.start(5, &sleeper()).await.0, stale, "{kind}: an older start is refused");
    let late = Launch { instance: instance(2), ..sleeper() };
    assert_eq!(bench.start(5, &late).await.0, stale, "{kind}: also of what is not there");
    assert_eq!(bench.stop(5, 0).await, stale, "{kind}: an older stop is refused");
    assert_eq!(bench.stop(5, 2).await, stale, "{kind}: also of what is not there");
    assert_eq!(bench.observe().await.len(), 2, "{kind}: and nothing has changed");

    assert_eq!(bench.stop(6, 0).await, Ensured::Updated, "{kind}: a stop stops");
    assert_eq!(bench.stop(6, 0).await, Ensured::NotNeeded, "{kind}: a second stop is none");
    assert_eq!(bench.stop(7, 1).await, Ensured::Updated, "{kind}: all can be stopped");
    assert!(bench.observe().await.is_empty(), "{kind}: and nothing is left");
    let (again, _) = bench.start(7, &sleeper()).await;
    assert_eq!(again, Ensured::Added, "{kind}: what was stopped can be started again");
    assert_eq!(bench.stop(7, 0).await, Ensured::Updated, "{kind}: and stopped");
}

#[test]
fn an_unknown_driver_is_an_error_that_lists_the_known_ones() {
    let setup = rollway::driver::Setup { state: "/nowhere".into(), program: "/nothing".into() };
    let problem = rollway::driver::named("proces", &setup).err().unwrap();
    let told = problem.to_string();
    assert_eq!(told, "run.driver: unknown driver \"proces\"; known: process, null");
}
