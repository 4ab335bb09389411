//! The sandboxes' way to the outside, through one policy point on this host.
//!
//! Each slot has an address and a veth pair: `eth0` inside, `wv<slot>` on the
//! host. The host forwards between those and its own default route, masquerades,
//! and denies everything private, other sandboxes and itself included ([`rules`]).
//! Names are looked up by the host on the sandboxes' behalf ([`dns`]). All of it
//! outlives the server: sandboxes keep their network over its restart, but for
//! name look-ups, which wait for the next server.
//!
//! Everything happens in the network namespace of the threads that call.

mod config;
mod dns;
mod error;
mod firewall;
mod plan;
mod rules;
mod uplink;

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use model::Slot;
use sys::netlink::{self, Attachment, GuestNet};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use config::NetworkConfig;
pub use error::Error;
use plan::Plan;
pub use plan::{InvalidRange, Range};

/// Name of a sandbox's interface inside.
const GUEST_INTERFACE: &str = "eth0";

/// How often the host's default routes are looked at again.
const UPLINK_PERIOD: Duration = Duration::from_secs(30);

/// How long `detach` waits for the death of the namespace to take the pair along.
const DETACH_PATIENCE: Duration = Duration::from_secs(1);

/// A kill waits for the answer, and the kernel usually needs 10 to 20 ms: a look
/// is cheaper than another doubling of the pause.
const DETACH_LOOK: Duration = Duration::from_millis(4);

/// The host's side of the sandboxes' network.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    plan: Plan,
    mtu: u32,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Network {
    /// Sets the host's side up and starts the name service. Takes over what an
    /// earlier server left, also after it was killed; running sandboxes notice nothing.
    pub async fn start(config: NetworkConfig) -> Result<Self, Error> {
        let plan = Plan::new(config.range).ok_or(Error::Range(config.range))?;
        for name in [&config.name, &config.interface_prefix] {
            check_name(name)?;
        }
        check_routes(&config)?;
        netlink::add_service_address(plan.service())?;
        let service =
            dns::Service::bind(plan, &config).await.map_err(Error::step("binding the name service"))?;
        let script = rules::table(&config, plan, service.ports());
        let network = Self {
            mtu: uplink::mtu()?,
            config,
            plan,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let config = network.config.clone();
        let notes = blocking(move || firewall::load(&script).map(|()| firewall::make_way(&config))).await??;
        for note in notes {
            warn!("{note}");
        }
        log_forwarding(&uplink::ensure_forwarding()?);
        service.run(&network.tasks, &network.stop);
        network.tasks.spawn(watch_uplinks(network.stop.clone()));
        Ok(network)
    }

    /// How many sandboxes can have an address.
    pub fn capacity(&self) -> u32 {
        self.plan.capacity()
    }

    /// What the inside of a slot's network is to look like.
    pub fn guest_net(&self, slot: Slot) -> Result<GuestNet, Error> {
        Ok(GuestNet {
            interface: GUEST_INTERFACE.to_owned(),
            address: self.plan.address(slot).ok_or(Error::NoAddress(slot))?,
            gateway: self.config.gateway,
            gateway_mac: mac(self.config.gateway),
        })
    }

    /// Connects a network namespace to the host; its inside is then configured by
    /// [`sys::netlink::configure_guest`] with the answer, in that namespace.
    ///
    /// Blocks for a fraction of a millisecond. A pair that an earlier sandbox of
    /// the slot left is replaced.
    pub fn attach(&self, slot: Slot, netns: BorrowedFd<'_>) -> Result<GuestNet, Error> {
        let net = self.guest_net(slot)?;
        let pair = Attachment {
            host_name: &self.host_interface(slot),
            host_index: index(net.address),
            host_mac: net.gateway_mac,
            guest_name: &net.interface,
            guest_mac: mac(net.address),
            address: net.address,
            mtu: self.mtu,
            netns,
        };
        match netlink::attach(&pair) {
            Err(e) if e.is_exists() => {
                netlink::delete_link(pair.host_index)?;
                netlink::attach(&pair)?;
            }
            other => other?,
        }
        Ok(net)
    }

    /// Waits until a slot's pair is gone with its namespace, which must be dead
    /// or dying; a pair that stays is taken down and deleted. Safe twice.
    ///
    /// Not deleted at once, because deleting a pair that is up stops all network
    /// changes of the host for some 20 ms. Dropping the future leaves the pair to
    /// the kernel, and to the next `attach` of the slot.
    pub async fn detach(&self, slot: Slot) -> Result<(), Error> {
        let index = index(self.plan.address(slot).ok_or(Error::NoAddress(slot))?);
        let name = self.host_interface(slot);
        let deadline = tokio::time::Instant::now() + DETACH_PATIENCE;
        let mut pause = Duration::from_millis(1);
        while tokio::time::Instant::now() < deadline {
            let name = name.clone();
            if blocking(move || netlink::link(&name)).await??.is_none() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(DETACH_LOOK);
        }
        blocking(move || match netlink::set_link_down(index) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => netlink::delete_link(index),
        })
        .await??;
        Ok(())
    }

    /// Stops the name service and leaves everything else as it is, for the
    /// sandboxes that live on and for the next server.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops, and when no sandbox is attached any more removes rules and
    /// addresses as well; says whether it did. Forwarding stays switched on:
    /// others may have come to rely on it.
    pub async fn close(&self) -> Result<bool, Error> {
        self.stop().await;
        let config = self.config.clone();
        let service = self.plan.service();
        blocking(move || {
            if !netlink::links(&config.interface_prefix)?.is_empty() {
                return Ok(false);
            }
            firewall::unload(&config)?;
            netlink::remove_service_address(service)?;
            Ok(true)
        })
        .await?
    }

    fn host_interface(&self, slot: Slot) -> String {
        format!("{}{}", self.config.interface_prefix, slot.0)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Names go into rules and interface names, whose length the kernel limits to 15.
fn check_name(name: &str) -> Result<(), Error> {
    let ordinary = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if ordinary && starts_well && name.len() <= 7 { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// Whether [`Network::start`] could use these options, as far as can be seen without
/// changing anything; answers how many sandboxes could have an address.
pub fn look(config: &NetworkConfig) -> Result<u32, Error> {
    let plan = Plan::new(config.range).ok_or(Error::Range(config.range))?;
    for name in [&config.name, &config.interface_prefix] {
        check_name(name)?;
    }
    check_routes(config)?;
    Ok(plan.capacity())
}

/// Refuses a range that the host already routes somewhere else.
fn check_routes(config: &NetworkConfig) -> Result<(), Error> {
    let ours: Vec<_> = netlink::links(&config.interface_prefix)?.into_iter().map(|link| link.index).collect();
    for route in netlink::routes()? {
        let Some(range) = Range::new(route.destination, route.prefix_len) else { continue };
        // Wider routes (the default one, a supernet) lose to our exact ones.
        if route.prefix_len > 8 && range.overlaps(config.range) && !ours.contains(&route.index) {
            return Err(Error::Taken { range: config.range, route: range });
        }
    }
    Ok(())
}

/// The index of the host's end follows from the address, far above what the
/// kernel deals out itself; so it is known before the pair is made.
fn index(address: Ipv4Addr) -> u32 {
    0x4000_0000 | (address.to_bits() & 0x00ff_ffff)
}

/// A locally administered hardware address that follows from an address.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0e, 0x57, a, b, c, d]
}

/// Default routes come and go (VPN, DHCP); a new one must forward too.
async fn watch_uplinks(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPLINK_PERIOD)).await.is_some() {
        match blocking(uplink::ensure_forwarding).await {
            Ok(Ok(changed)) => log_forwarding(&changed),
            Ok(Err(e)) => warn!(error = &e as &dyn std::error::Error, "looking at the host's default routes"),
            Err(e) => warn!(error = &e as &dyn std::error::Error, "looking at the host's default routes"),
        }
    }
}

fn log_forwarding(changed: &[String]) {
    if !changed.is_empty() {
        info!(interfaces = ?changed, "switched IPv4 forwarding on, so that answers reach sandboxes");
    }
}

/// Work that waits for the kernel's network lock or for a program, off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let ended = |e: JoinError| Error::Step { step: "waiting for blocking work", source: e.into() };
    tokio::task::spawn_blocking(work).await.map_err(ended)
}

#[cfg(test)]
mod tests;
