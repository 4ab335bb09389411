//! The network between three kinds of namespaces: *outside* stands for the rest
//! of the world (it owns public, private and metadata addresses alike), *host* is
//! where the server runs, and sandboxes hang off it. Nothing leaves this machine.
//! Needs root and `nft`.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::*;

const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Private, link-local, metadata and shared addresses, all alive outside.
const FORBIDDEN: [Ipv4Addr; 6] = [
    Ipv4Addr::new(10, 99, 0, 1),
    Ipv4Addr::new(172, 16, 0, 1),
    Ipv4Addr::new(192, 168, 1, 1),
    Ipv4Addr::new(100, 64, 0, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(198, 18, 0, 1),
];
const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(3);

/// A network namespace that lives as long as this.
struct Namespace(OwnedFd);

impl Namespace {
    fn new() -> Self {
        let make = || {
            sys::namespace::new_network_namespace().unwrap();
            Self(File::open("/proc/thread-self/ns/net").unwrap().into())
        };
        thread::spawn(make).join().unwrap()
    }

    fn enter(&self) {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(self.0.as_fd(), kind).unwrap();
    }

    /// Runs something inside, on a thread of its own.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                self.enter();
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

struct World {
    outside: Namespace,
    config: NetworkConfig,
}

/// Runs a test on a host that has an outside; the test's own thread becomes the host.
fn on_host<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    if !rustix::process::geteuid().is_root() || Command::new("nft").arg("-v").output().is_err() {
        testkit::skip("needs root and nft");
        return;
    }
    let run = || {
        let (host, outside) = (Namespace::new(), Namespace::new());
        outside.run(|| plug(&host));
        host.enter();
        let config = NetworkConfig { resolvers: Some(vec![(PUBLIC, 53).into()]), ..NetworkConfig::default() };
        let uplink = GuestNet {
            interface: "up0".to_owned(),
            address: HOST,
            gateway: ROUTER,
            gateway_mac: mac(ROUTER),
        };
        netlink::configure_guest(&uplink).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(World { outside, config }));
    };
    // The name is the test's, for what is skipped on it.
    let host = thread::Builder::new().name(thread::current().name().unwrap_or("host").to_owned());
    host.spawn(run).unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Outside's part of the wire to the host, and its addresses.
fn plug(host: &Namespace) {
    netlink::set_link_up(1).unwrap();
    for address in FORBIDDEN.into_iter().chain([PUBLIC, ROUTER]) {
        netlink::add_service_address(address).unwrap();
    }
    let pair = Attachment {
        host_name: "lan0",
        host_index: 77,
        host_mac: mac(ROUTER),
        guest_name: "up0",
        guest_mac: mac(HOST),
        address: HOST,
        mtu: 1400,
        netns: host.0.as_fd(),
    };
    netlink::attach(&pair).unwrap();
    serve_everywhere();
}

/// Answers every connection to `PORT` with the address that it came from.
fn serve_everywhere() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let peer = stream.peer_addr().unwrap().ip();
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
}

/// Connects and reads what `serve_everywhere` says.
fn reach(address: Ipv4Addr) -> io::Result<String> {
    reach_within(address, PATIENCE)
}

fn reach_within(address: Ipv4Addr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(address, PORT).into(), patience)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn sandbox(network: &Network, slot: u32) -> Namespace {
    let namespace = Namespace::new();
    let net = network.attach(Slot(slot), namespace.0.as_fd()).unwrap();
    namespace.run(|| netlink::configure_guest(&net).unwrap());
    namespace
}

/// Work that blocks, while the host's name service goes on.
async fn apart<T: Send + 'static>(namespace: &Namespace, work: impl FnOnce() -> T + Send + 'static) -> T {
    let same = Namespace(namespace.0.try_clone().unwrap());
    tokio::task::spawn_blocking(move || same.run(work)).await.unwrap()
}

#[test]
fn public_addresses_are_reached_and_everything_else_is_refused_at_once() {
    on_host(async |world| {
        serve_everywhere();
        let network = Network::start(world.config.clone()).await.unwrap();
        let (first, second) = (sandbox(&network, 0), sandbox(&network, 1));
        second.run(serve_everywhere);
        assert_eq!(first.run(|| reach(PUBLIC)).unwrap(), HOST.to_string(), "masqueraded");
        let sibling = network.guest_net(Slot(1)).unwrap().address;
        let service = network.plan.service();
        for address in FORBIDDEN {
            assert_eq!(reach(address).unwrap(), HOST.to_string(), "the host itself reaches {address}");
        }
        let gateway = network.config.gateway;
        for address in
            FORBIDDEN.into_iter().chain([sibling, HOST, service, gateway, Ipv4Addr::new(224, 0, 0, 5)])
        {
            let before = Instant::now();
            let error = first.run(|| reach(address)).expect_err(&address.to_string());
            println!("{address}: {error}");
            assert!(before.elapsed() < PATIENCE / 2, "{address} is refused, not swallowed");
        }
        let own = network.guest_net(Slot(0)).unwrap().address;
        let short = Duration::from_millis(300);
        first.run(serve_everywhere);
        assert!(first.run(|| reach(own)).is_ok());
        assert!(reach_within(own, short).is_err(), "the host does not reach in by the network");
        assert!(world.outside.run(|| reach_within(own, short)).is_err(), "nobody reaches in");
        assert_eq!(first.run(|| reach(PUBLIC)).unwrap(), HOST.to_string());
    });
}

#[test]
fn an_allowed_private_network_is_reached_and_its_neighbours_are_not() {
    on_host(async |world| {
        let allow = vec!["10.99.0.0/24".parse().unwrap(), "10.99.0.0/28".parse().unwrap()];
        let network = Network::start(NetworkConfig { allow, ..world.config.clone() }).await.unwrap();
        let first = sandbox(&network, 7);
        assert!(first.run(|| reach(FORBIDDEN[0])).is_ok());
        assert!(first.run(|| reach(FORBIDDEN[1])).is_err());
    });
}

#[test]
fn packets_with_a_borrowed_source_never_arrive() {
    on_host(async |world| {
        let network = Network::start(world.config.clone()).await.unwrap();
        let (first, _second) = (sandbox(&network, 0), sandbox(&network, 1));
        let receiver = world.outside.run(|| UdpSocket::bind((PUBLIC, 9999)).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let borrowed = [network.guest_net(Slot(1)).unwrap().address, Ipv4Addr::new(198, 51, 100, 99), HOST];
        let own = network.guest_net(Slot(0)).unwrap().address;
        first.run(|| {
            for source in borrowed {
                netlink::add_service_address(source).unwrap();
                let socket = UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(b"borrowed", (PUBLIC, 9999)).unwrap();
            }
            UdpSocket::bind((own, 0)).unwrap().send_to(b"own", (PUBLIC, 9999)).unwrap();
        });
        let mut buffer = [0_u8; 16];
        let (len, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.ip()), (&b"own"[..], IpAddr::V4(HOST)));
    });
}

const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

/// What the fake name server outside says: the question, turned into an answer.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer.extend_from_slice(b"answer");
    answer
}

/// A name server outside: one UDP question after another, one TCP connection after another.
fn serve_names() {
    let udp = UdpSocket::bind((PUBLIC, 53)).unwrap();
    let tcp = TcpListener::bind((PUBLIC, 53)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0_u8; 512];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&answer(&buffer[..len]), from);
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            let answer = answer(&read_framed(&mut stream));
            let _ = stream.write_all(&framed(&answer));
        }
    });
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn ask_udp(server: SocketAddr) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE * 2))?;
    socket.connect(server)?;
    socket.send(QUESTION)?;
    let mut buffer = [0_u8; 512];
    let len = socket.recv(&mut buffer)?;
    Ok(buffer[..len].to_vec())
}

#[test]
fn names_are_looked_up_through_the_gateway_by_packet_and_by_connection() {
    on_host(async |world| {
        let network = Network::start(world.config.clone()).await.unwrap();
        let gateway = SocketAddr::from((network.config.gateway, 53));
        let first = sandbox(&network, 3);
        let failed = apart(&first, move || ask_udp(gateway)).await.unwrap();
        assert_eq!(failed[3] & 0x0f, 2, "no server answers: SERVFAIL");
        world.outside.run(serve_names);
        assert_eq!(apart(&first, move || ask_udp(gateway)).await.unwrap(), answer(QUESTION));
        let conversation = move || {
            let mut stream = TcpStream::connect(gateway).unwrap();
            stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
            std::array::from_fn::<_, 2, _>(|_| {
                stream.write_all(&framed(QUESTION)).unwrap();
                read_framed(&mut stream)
            })
        };
        let answers = apart(&first, conversation).await;
        assert_eq!(answers, [answer(QUESTION), answer(QUESTION)]);
    });
}

#[test]
fn nobody_but_sandboxes_reaches_the_name_service_and_they_reach_no_other() {
    on_host(async |world| {
        world.outside.run(serve_names);
        let _other = UdpSocket::bind((HOST, 53)).unwrap();
        let network = Network::start(world.config.clone()).await.unwrap();
        let first = sandbox(&network, 0);
        let rules = Command::new("nft").args(["list", "table", "inet", "warren"]).output().unwrap();
        let rules = String::from_utf8(rules.stdout).unwrap();
        let port = rules.split("udp dport 53 dnat ip to 10.213.0.1:").nth(1).unwrap();
        let port: u16 = port.lines().next().unwrap().trim().parse().unwrap();
        let service = SocketAddr::from((network.plan.service(), port));
        assert_eq!(ask_udp(service).unwrap_err().kind(), ErrorKind::HostUnreachable, "not from the host");
        assert!(apart(&first, move || ask_udp(service)).await.is_err(), "not by its real address");
        let host = SocketAddr::from((HOST, 53));
        let refused = apart(&first, move || ask_udp(host)).await.unwrap_err();
        assert_ne!(refused.kind(), ErrorKind::WouldBlock, "refused at once");
        let outside = SocketAddr::from((PUBLIC, 53));
        assert!(
            apart(&first, move || ask_udp(outside)).await.is_ok(),
            "a public server is the sandbox's choice"
        );
    });
}

#[test]
fn sandboxes_keep_their_network_over_a_restart_and_leave_nothing() {
    on_host(async |world| {
        let network = Network::start(world.config.clone()).await.unwrap();
        let first = sandbox(&network, 5);
        drop(network);
        let network = Network::start(world.config.clone()).await.unwrap();
        assert!(first.run(|| reach(PUBLIC)).is_ok());
        assert!(!network.close().await.unwrap(), "a sandbox is still attached");
        assert!(first.run(|| reach(PUBLIC)).is_ok());
        let network = Network::start(world.config.clone()).await.unwrap();
        drop(first);
        network.detach(Slot(5)).await.unwrap();
        network.detach(Slot(5)).await.unwrap();
        assert!(network.close().await.unwrap());
        assert_eq!(netlink::links("wv").unwrap(), []);
        let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
        assert!(!String::from_utf8(tables.stdout).unwrap().contains("inet warren"));
        assert!(UdpSocket::bind((network.plan.service(), 0)).is_err(), "the address is gone");
    });
}

#[test]
fn a_stale_pair_is_replaced_and_a_living_one_is_removed_by_detach() {
    on_host(async |world| {
        let network = Network::start(world.config.clone()).await.unwrap();
        let stale = sandbox(&network, 9);
        let fresh = sandbox(&network, 9);
        assert!(fresh.run(|| reach(PUBLIC)).is_ok());
        assert!(stale.run(|| reach_within(PUBLIC, Duration::from_millis(300))).is_err());
        network.detach(Slot(9)).await.unwrap();
        assert_eq!(netlink::links("wv").unwrap(), []);
    });
}

#[test]
fn connections_of_one_sandbox_are_bounded() {
    on_host(async |world| {
        let network =
            Network::start(NetworkConfig { max_connections: 20, ..world.config.clone() }).await.unwrap();
        let (first, second) = (sandbox(&network, 0), sandbox(&network, 1));
        let open = first.run(|| {
            let connect = |_| TcpStream::connect_timeout(&(PUBLIC, PORT).into(), PATIENCE).ok();
            (0..40).map_while(connect).collect::<Vec<_>>()
        });
        assert_eq!(open.len(), 20);
        assert!(second.run(|| reach(PUBLIC)).is_ok(), "each has its own");
    });
}

/// As hosts with a container engine or a strict firewall have it.
#[test]
fn a_host_whose_iptables_drop_forwarded_packets_lets_sandboxes_out() {
    on_host(async |world| {
        let iptables = |args: &str| Command::new("iptables").args(args.split(' ')).output();
        if !iptables("-w -P FORWARD DROP").is_ok_and(|output| output.status.success()) {
            testkit::skip("needs iptables");
            return;
        }
        for engine in [false, true] {
            if engine {
                for args in ["-F FORWARD", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"] {
                    assert!(iptables(args).unwrap().status.success());
                }
            }
            for _ in 0..2 {
                drop(Network::start(world.config.clone()).await.unwrap());
            }
            let network = Network::start(world.config.clone()).await.unwrap();
            let first = sandbox(&network, u32::from(engine));
            assert!(first.run(|| reach(PUBLIC)).is_ok(), "with a container engine: {engine}");
            assert!(first.run(|| reach(FORBIDDEN[0])).is_err(), "our own table still decides");
            let rules = String::from_utf8(iptables("-S").unwrap().stdout).unwrap();
            assert_eq!(rules.matches("-i wv+").count(), 1, "added once: {rules}");
        }
    });
}

/// Requests in two small writes, as HTTP libraries make them: each would wait
/// some 40 ms for the other side's acknowledgement if routes were not quick.
#[test]
fn small_writes_over_loopback_do_not_stall() {
    const ROUNDS: u32 = 60;
    on_host(async |world| {
        let network = Network::start(world.config.clone()).await.unwrap();
        let first = sandbox(&network, 0);
        let own = network.guest_net(Slot(0)).unwrap().address;
        for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), IpAddr::V4(own)] {
            let each = first.run(|| {
                let listener = TcpListener::bind((address, 0)).unwrap();
                let target = listener.local_addr().unwrap();
                let server = thread::spawn(move || {
                    let mut stream = listener.accept().unwrap().0;
                    let mut request = [0_u8; 2];
                    while stream.read_exact(&mut request).is_ok() {
                        stream.write_all(b"a").unwrap();
                    }
                });
                let mut stream = TcpStream::connect(target).unwrap();
                let before = Instant::now();
                for _ in 0..ROUNDS {
                    stream.write_all(b"q").unwrap();
                    stream.write_all(b"q").unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                }
                let each = before.elapsed() / ROUNDS;
                drop(stream);
                server.join().unwrap();
                each
            });
            println!("{address}: {each:?} a round");
            assert!(each < Duration::from_millis(15), "{address}: {each:?}");
        }
    });
}

#[test]
fn unusable_options_are_refused_with_a_reason() {
    on_host(async |world| {
        let refused = async |change: fn(&mut NetworkConfig)| {
            let mut config = world.config.clone();
            change(&mut config);
            Network::start(config).await.unwrap_err().to_string()
        };
        let elsewhere = Namespace::new();
        let pair = Attachment {
            host_name: "other0",
            host_index: 99,
            host_mac: mac(PUBLIC),
            guest_name: "eth0",
            guest_mac: mac(HOST),
            address: Ipv4Addr::new(10, 213, 9, 9),
            mtu: 1500,
            netns: elsewhere.0.as_fd(),
        };
        netlink::attach(&pair).unwrap();
        let taken = refused(|_| ()).await;
        assert!(taken.contains("overlaps the host's route to 10.213.9.9/32"), "{taken}");
        assert!(refused(|c| c.range = "10.0.0.0/30".parse().unwrap()).await.contains("no room"));
        assert!(refused(|c| c.name = "a; flush ruleset".to_owned()).await.contains("no usable name"));
        assert!(refused(|c| c.interface_prefix = "toolongname".to_owned()).await.contains("no usable name"));
    });
}
