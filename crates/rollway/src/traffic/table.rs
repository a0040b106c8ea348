//! From a route of the core to the table that the embedded proxy uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rollway_core::ids::{InstanceId, ReleaseNumber};
use rollway_core::plan::Route;
use rollway_core::release::Release;
use rollway_core::spec::{Check, Spec, Strategy, Traffic};

use crate::proxy::table::{Arm, Member, Preview, Reprobe, Rule, Sticky, Tester, TlsFiles};
/// What the engine hands on without looking inside.
pub use crate::proxy::table::{Mode, ServiceTable};

/// Where an instance answers.
pub type Addresses<'a> = &'a dyn Fn(InstanceId) -> Option<SocketAddr>;

/// The table for a route by the traffic settings of one release.
#[must_use]
pub fn build(
    route: &Route,
    settings: &Release,
    versions: &BTreeMap<ReleaseNumber, String>,
    addresses: Addresses<'_>,
) -> Option<ServiceTable> {
    let spec = &settings.spec;
    let traffic = spec.traffic.as_ref()?;
    let mut arms: BTreeMap<ReleaseNumber, Arm> = BTreeMap::new();
    for (release, weight) in &route.weights {
        arms.insert(*release, arm(*release, *weight, versions));
    }
    for id in &route.members {
        let Some(address) = addresses(*id) else { continue };
        let arm = arms.entry(id.release).or_insert_with(|| arm(id.release, 0, versions));
        arm.members.push(Member { instance: id.to_string(), address });
    }
    Some(ServiceTable {
        service: spec.service.to_string(),
        generation: 0,
        revision: 0,
        listen: traffic.listen.clone(),
        tls: tls(traffic, settings),
        rules: traffic.rules.iter().map(rule).collect(),
        arms: arms.into_values().collect(),
        newest: route.newest.map(|release| release.0),
        testers: traffic.testers.iter().map(tester).collect(),
        preview: preview(route, spec),
        sticky: traffic.sticky.as_ref().map(sticky),
        mode: if route.hold_requests { Mode::Pause } else { Mode::Serve },
        pause_max_ms: traffic.pause_max.0,
        retries: traffic.retries,
        connect_timeout_ms: traffic.timeouts.connect.0,
        response_timeout_ms: traffic.timeouts.response.0,
        idle_timeout_ms: traffic.timeouts.idle.0,
        body_max: traffic.body_max.map(|bytes| bytes.0),
        health: reprobe(spec),
    })
}

fn arm(release: ReleaseNumber, weight: u32, versions: &BTreeMap<ReleaseNumber, String>) -> Arm {
    let version = versions.get(&release).cloned().unwrap_or_default();
    Arm { release: release.0, version, weight, members: Vec::new() }
}

fn tls(traffic: &Traffic, settings: &Release) -> Option<TlsFiles> {
    let at = |path: &str| {
        let path = std::path::Path::new(&settings.folder).join(path);
        path.display().to_string()
    };
    let files = traffic.tls.as_ref()?;
    Some(TlsFiles { certificate: at(&files.certificate), key: at(&files.key) })
}

fn rule(rule: &rollway_core::spec::Rule) -> Rule {
    Rule { host: rule.host.clone(), path: rule.path.clone() }
}

fn tester(tester: &rollway_core::spec::Tester) -> Tester {
    Tester { header: tester.header.clone(), value: tester.value.clone() }
}

fn sticky(sticky: &rollway_core::spec::Sticky) -> Sticky {
    match sticky {
        rollway_core::spec::Sticky::Cookie(name) => Sticky::Cookie(name.clone()),
        rollway_core::spec::Sticky::Header(name) => Sticky::Header(name.clone()),
    }
}

fn preview(route: &Route, spec: &Spec) -> Option<Preview> {
    let Strategy::BlueGreen(blue_green) = &spec.strategy else { return None };
    let (release, listen) = (route.preview?, blue_green.preview.clone()?);
    Some(Preview { listen, release: release.0 })
}

/// How the proxy itself verifies an instance: the first probe that it can make.
fn reprobe(spec: &Spec) -> Option<Reprobe> {
    spec.health.iter().find_map(|probe| {
        let http = match &probe.check {
            Check::Http(http) if http.port.is_none() => Some(http.path.clone()),
            Check::Tcp(tcp) if tcp.port.is_none() => None,
            Check::Http(_)
            | Check::Tcp(_)
            | Check::Grpc(_)
            | Check::Command(_)
            | Check::Disk(_)
            | Check::Memory(_) => return None,
        };
        Some(Reprobe { http, interval_ms: probe.interval.0, timeout_ms: probe.timeout.0 })
    })
}
