//! What the operator sees of this server: measurements and the node.

use model::admission::{Capacity, Overcommit};
use node::{Host, Phase, Room};
use wire::exposition::{Family, Kind, count};

use super::{App, Error};

/// The node of this server, as its operator sees it.
#[derive(Debug)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) is_draining: bool,
    pub(crate) room: Room,
    pub(crate) host: Host,
    pub(crate) starting: u32,
    /// Creates that were answered with a sandbox, and others.
    pub(crate) creates: (u64, u64),
    pub(crate) builds: Vec<String>,
}

impl App {
    /// Everything that is measured, for the operator's monitoring.
    pub(crate) async fn measurements(&self) -> Result<Vec<Family>, Error> {
        let room = self.node().room().await.map_err(Error::Host)?;
        let mut families = vec![self.by_state()];
        families.extend(self.0.meter.families());
        families.extend(of_room(&room));
        if let Some(more) = &self.options().gauges {
            families.extend(more.families());
        }
        Ok(families)
    }

    fn by_state(&self) -> Family {
        const PHASES: [(Phase, &str); 6] = [
            (Phase::Starting, "starting"),
            (Phase::Running, "running"),
            (Phase::Pausing, "pausing"),
            (Phase::Paused, "paused"),
            (Phase::Resuming, "resuming"),
            (Phase::Ending, "ending"),
        ];
        let seen = self.node().list();
        let family = Family::new("warren_sandboxes", Kind::Gauge, "Sandboxes, by state.");
        PHASES.into_iter().fold(family, |family, (phase, name)| {
            let n = seen.iter().filter(|seen| seen.phase == phase).count();
            family.with(&[("state", name)], count(n as u64))
        })
    }

    /// The node of this server. The answer takes as long as its look at the processors.
    pub(crate) async fn node_view(&self) -> Result<NodeView, Error> {
        let host = self.node().host().await.map_err(Error::Host)?;
        let room = self.node().room().await.map_err(Error::Host)?;
        let starting = self.node().list().iter().filter(|seen| seen.phase == Phase::Starting).count();
        Ok(NodeView {
            id: self.options().node_id.clone(),
            is_draining: self.0.tasks.is_closed() || self.is_drained().await?,
            room,
            host,
            starting: u32::try_from(starting).unwrap_or(u32::MAX),
            creates: self.0.meter.creates(),
            builds: self.node().templates().into_iter().map(|build| build.build_id.to_string()).collect(),
        })
    }
}

fn of_room(room: &Room) -> Vec<Family> {
    let Capacity { memory, disk, slots } = room.capacity;
    let Overcommit { memory_percent, disk_percent } = room.overcommit;
    let most = |there: u64, percent: u32| count(there) * f64::from(percent) / 100.0;
    let gauge = |name, help| Family::new(name, Kind::Gauge, help);
    let kinds = |family: Family, values: [f64; 3]| {
        let names = ["memory_bytes", "disk_bytes", "slots"];
        names
            .iter()
            .zip(values)
            .fold(family, |family, (name, value)| family.with(&[("resource", name)], value))
    };
    let (memory, disk) = (memory.as_u64(), disk.as_u64());
    vec![
        kinds(
            gauge("warren_node_capacity", "What the host has."),
            [count(memory), count(disk), f64::from(slots)],
        ),
        kinds(
            gauge("warren_node_promised", "What is promised to the sandboxes that stand."),
            [
                count(room.promised.memory.as_u64()),
                count(room.promised.disk.as_u64()),
                f64::from(room.promised.slots),
            ],
        ),
        kinds(
            gauge("warren_node_promise_limit", "How much may be promised; a create beyond it is refused."),
            [most(memory, memory_percent), most(disk, disk_percent), f64::from(slots)],
        ),
        kinds(
            gauge("warren_node_free", "What is really free on the host now."),
            [
                count(room.memory_available.as_u64()),
                count(room.disk_free.as_u64()),
                f64::from(slots.saturating_sub(room.promised.slots)),
            ],
        ),
        gauge("warren_template_builds", "Template builds that clients ordered.")
            .with(&[("state", "building")], f64::from(room.builds_active))
            .with(&[("state", "waiting")], f64::from(room.builds_waiting)),
    ]
}
