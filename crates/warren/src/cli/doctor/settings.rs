//! Whether what the settings name is there and right: directories, ports, files,
//! names. Looks, and changes nothing; a server may run on the same settings.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Result;
use model::Isolation;
use runtime::network::{self, NetworkConfig};
use wire::control::{ENVD_PORT, INTERPRETER_PORT};

use super::row::Row;
use crate::config::{self, Flags, Options};
use crate::up::state::{self, Looked};
use crate::up::{backend, ca, tls};

/// Less is no room for the built-in templates.
const LITTLE_GIB: u64 = 3;

/// Where the settings come from, and whether they can be read.
pub(super) fn source(flags: &Flags, settings: &Result<Options>) -> Row {
    let found = match (settings, config::file(flags)) {
        (Ok(_), Some(file)) => Ok(format!("read from {}", file.display())),
        (Ok(_), None) => Ok("the defaults: there is no file".to_owned()),
        (Err(error), _) => Err(format!("{error:#}")),
    };
    Row::required("settings", found, "mend it; warren up --print-config shows every key with its value")
}

/// Everything that these settings name.
pub(super) fn judge(options: &Options) -> Vec<Row> {
    let looked = state::look(&options.state_dir);
    let runs = matches!(looked, Ok(Looked::InUse));
    let mut rows = vec![state_dir(&options.state_dir, looked)];
    if options.isolation == Isolation::Namespaces {
        rows.push(room(&options.state_dir));
        rows.push(network(options));
    }
    rows.push(listeners(&options.listen.main, runs));
    rows.extend(further_ports(options, runs));
    rows.extend(tls_row(options));
    rows.extend(authorities(options));
    rows.extend(session(options));
    rows
}

fn state_dir(dir: &Path, looked: Result<Looked>) -> Row {
    let found = match looked {
        Ok(Looked::ToBeMade) => Ok(format!("{} will be made", dir.display())),
        Ok(Looked::Free) => Ok(dir.display().to_string()),
        Ok(Looked::InUse) => Ok(format!("{}, on which a server runs", dir.display())),
        Err(error) => Err(format!("{error:#}")),
    };
    Row::required("state_dir", found, "choose another with state_dir or --state-dir")
}

fn room(dir: &Path) -> Row {
    let existing = state::nearest(dir);
    let found = match rustix::fs::statvfs(existing) {
        Err(error) => Err(format!("{}: {error}", existing.display())),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 30;
            let said = format!("{free} GiB free at {}", existing.display());
            if free < LITTLE_GIB { Err(said) } else { Ok(said) }
        }
    };
    Row::optional("room", found, "templates and sandboxes need some GiB: make room, or move state_dir")
}

fn network(options: &Options) -> Row {
    let judged = || -> Result<String> {
        let config: NetworkConfig = backend::network_config(options)?;
        let slots = network::look(&config)?;
        Ok(format!("{}, with room for {slots} sandboxes", options.network.range))
    };
    let judged = judged().map_err(|error| format!("{error:#}"));
    Row::required("network.range", judged, "choose a private range that nothing on this host uses")
}

/// Whether a server could listen there now.
enum Port {
    Free,
    Taken,
    Absent,
    Refused(String),
}

fn port(address: SocketAddr) -> Port {
    match TcpListener::bind(address) {
        Ok(_) => Port::Free,
        Err(e) if e.kind() == ErrorKind::AddrInUse => Port::Taken,
        Err(e) if matches!(e.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => Port::Absent,
        Err(e) => Port::Refused(format!("{address}: {e}")),
    }
}

/// `runs`: a server runs on this state directory, and listens where it was told to.
fn listeners(addresses: &[SocketAddr], runs: bool) -> Row {
    let (mut usable, mut wrong) = (Vec::new(), Vec::new());
    for address in addresses {
        match port(*address) {
            Port::Free => usable.push(address.to_string()),
            Port::Taken if runs => usable.push(format!("{address} (taken: a server runs)")),
            Port::Taken => wrong.push(format!("{address} is taken")),
            Port::Refused(reason) => wrong.push(reason),
            Port::Absent => {}
        }
    }
    let found = match (usable.is_empty(), wrong.is_empty()) {
        (_, false) => Err(wrong.join(", ")),
        (true, true) => Err(format!("none of {addresses:?} is an address of this machine")),
        (false, true) => Ok(usable.join(", ")),
    };
    Row::required("listen.main", found, "end what listens there, or choose with listen.main or --listen")
}

/// Ports without which the server starts, and says so.
fn further_ports(options: &Options, runs: bool) -> Vec<Row> {
    let debug = [ENVD_PORT, INTERPRETER_PORT].into_iter().flat_map(|port| {
        [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
    });
    let debug: Vec<_> = if options.listen.debug_ports { debug.collect() } else { Vec::new() };
    let all = [
        ("listen.debug_ports", &debug, "E2B_DEBUG=true will not work: end what listens there"),
        ("listen.session", &options.listen.session, "the main listeners serve the session API, too"),
        ("listen.metrics", &options.listen.metrics, "the main listeners serve /metrics to the operator"),
    ];
    let asked = all.into_iter().filter(|(_, addresses, _)| !addresses.is_empty());
    let rows = asked.map(|(key, addresses, advice)| {
        let taken = addresses.iter().filter(|address| match port(**address) {
            Port::Free | Port::Absent => false,
            Port::Taken => !runs,
            Port::Refused(_) => true,
        });
        let taken: Vec<_> = taken.map(ToString::to_string).collect();
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let found =
            if taken.is_empty() { Ok(list.join(", ")) } else { Err(format!("taken: {}", taken.join(", "))) };
        Row::optional(key, found, advice)
    });
    rows.collect()
}

/// Nothing where TLS is off.
fn tls_row(options: &Options) -> Option<Row> {
    let found = tls::look(options).transpose()?.map_err(|error| format!("{error:#}"));
    Some(Row::required("tls", found, "mend tls.certificate and tls.key, or use tls.own_authority"))
}

fn authorities(options: &Options) -> Option<Row> {
    let file = options.extra_ca_file.as_deref()?;
    let found = match ca::extra(Some(file)) {
        Ok(Some(own)) => {
            let own = own.matches("-----BEGIN").count();
            Ok(format!("{own} of its own in {}, which sandboxes will trust", file.display()))
        }
        Ok(None) => Ok(format!("{} has public ones only", file.display())),
        Err(error) => Err(format!("{error:#}")),
    };
    Some(Row::required("extra_ca_file", found, "name a PEM file with extra_ca_file or WARREN_EXTRA_CA_FILE"))
}

/// Nothing where all is in order: they are names, and no more can be said of them here.
fn session(options: &Options) -> Option<Row> {
    let wrong = crate::up::session(&options.session).err()?;
    Some(Row::required("session", Err(format!("{wrong:#}")), "name a template"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(dir: &Path, text: &str) -> Flags {
        let file = dir.join("config.toml");
        std::fs::write(&file, text).unwrap();
        Flags { config: Some(file), ..Flags::default() }
    }

    #[test]
    fn a_wrong_file_is_told_with_line_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags(dir.path(), "[node]\nmax_sandboxes = 3\ncruI = \"/x\"\n");
        let row = source(&flags, &config::load(&flags));
        assert!(!row.ok && row.required, "{row:?}");
        assert!(row.detail.contains("line 3") && row.detail.contains("cruI"), "{}", row.detail);
        assert!(row.to_string().lines().count() > 3, "each line of the reader's is one of ours");
    }

    #[test]
    fn a_taken_port_is_wrong_unless_the_server_itself_has_it() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let alone = listeners(&[address], false);
        assert!(!alone.ok && alone.detail.contains(&address.to_string()), "{alone:?}");
        assert!(listeners(&[address], true).ok);
        assert!(!listeners(&["192.0.2.1:1".parse().unwrap()], false).ok);
        drop(held);
        assert!(listeners(&[address], false).ok);
    }

    #[test]
    fn what_these_settings_name_is_looked_at_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state/deep");
        let named = |key: &str, rows: &[Row]| rows.iter().find(|row| row.capability == key).cloned();
        let mut options = Options { state_dir: state.clone(), ..Options::default() };
        options.listen.session.clear();
        options.listen.debug_ports = false;
        options.isolation = Isolation::Sim;
        options.extra_ca_file = Some(dir.path().join("absent.pem"));
        options.tls.certificate = Some(dir.path().join("absent.crt"));
        options.tls.key = Some(dir.path().join("absent.key"));
        options.session.template = "no/such/name/!".to_owned();
        let rows = judge(&options);
        assert!(named("state_dir", &rows).unwrap().ok);
        for key in ["extra_ca_file", "tls", "session"] {
            let row = named(key, &rows).unwrap();
            assert!(!row.ok && row.required, "{row:?}");
        }
        assert!(named("tls", &rows).unwrap().detail.contains("absent.crt"));
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn a_state_directory_of_a_newer_server_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("format"), "99\n").unwrap();
        let row = state_dir(dir.path(), state::look(dir.path()));
        assert!(!row.ok && row.detail.contains("newer server"), "{row:?}");
        let file = dir.path().join("a file");
        std::fs::write(&file, "").unwrap();
        assert!(!state_dir(&file, state::look(&file)).ok);
    }
}
