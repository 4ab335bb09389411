//! Every form of the contract, and three laws over arbitrary input.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{BadTarget, Hosts, Target, is_local, parse};

fn headers(id: Option<&str>, port: Option<&str>) -> HeaderMap {
    let mut map = HeaderMap::new();
    if let Some(id) = id {
        map.insert(super::SANDBOX_ID_HEADER, HeaderValue::from_str(id).unwrap());
    }
    if let Some(port) = port {
        map.insert(super::SANDBOX_PORT_HEADER, HeaderValue::from_str(port).unwrap());
    }
    map
}

fn check(host: &str, id: Option<&str>, port: Option<&str>) -> Result<Target, BadTarget> {
    parse(Some(host), "/", &headers(id, port), &Hosts::new(["My-Gateway"]))
}

fn to(id: &str, port: u16) -> Target {
    Target::Sandbox { sandbox_id: id.parse().unwrap(), port }
}

#[test]
fn shared_hosts_follow_the_headers() {
    for host in [
        "localhost",
        "LOCALHOST:3000",
        "127.0.0.1:3000",
        "[::1]:3000",
        "[::1]",
        "sandbox.e2b.app",
        "my-gateway:1",
    ] {
        assert_eq!(check(host, Some("iabc"), Some("49983")), Ok(to("iabc", 49983)), "{host}");
        assert_eq!(check(host, None, None), Ok(Target::Fallback), "{host}");
        assert_eq!(check(host, Some("iabc"), None), Err(BadTarget::MissingHeader), "{host}");
        assert_eq!(check(host, None, Some("80")), Err(BadTarget::MissingHeader), "{host}");
        assert_eq!(check(host, Some("i_bc"), Some("80")), Err(BadTarget::Id), "{host}");
        for port in ["0", "65536", "-1", "+80", "80a", ""] {
            assert_eq!(check(host, Some("iabc"), Some(port)), Err(BadTarget::Port), "{host} {port}");
        }
    }
    assert_eq!(parse(None, "/", &headers(Some("iabc"), Some("80")), &Hosts::default()), Ok(to("iabc", 80)));
}

#[test]
fn an_older_clients_connect_is_the_apis() {
    let aimed = |host: &str, path: &str, port: &str, key: bool| {
        let mut headers = headers(Some("iabc"), Some(port));
        if key {
            headers.insert("x-api-key", HeaderValue::from_static("e2b_00"));
        }
        parse(Some(host), path, &headers, &Hosts::default())
    };
    for path in ["/sandboxes/iabc/connect", "/v2/sandboxes/iabc/connect"] {
        assert_eq!(aimed("localhost", path, "49983", true), Ok(Target::Fallback));
        assert_eq!(aimed("localhost", path, "49983", false), Ok(to("iabc", 49983)));
        assert_eq!(aimed("localhost", path, "8000", true), Ok(to("iabc", 8000)));
        assert_eq!(aimed("49983-iabc.localhost", path, "49983", true), Ok(to("iabc", 49983)));
    }
    for path in ["/sandboxes/iother/connect", "/sandboxes/iabc", "/files", "/sandboxes/iabc/connect/x"] {
        assert_eq!(aimed("localhost", path, "49983", true), Ok(to("iabc", 49983)), "{path}");
    }
}

#[test]
fn host_names_of_sandboxes_ignore_the_headers() {
    for host in
        ["8000-iabc.localhost:3000", "8000-iabc-6532622b.e2b.app", "8000-IABC.x.", "8000-iabc.sbx.test:8443"]
    {
        assert_eq!(check(host, Some("iother"), Some("49983")), Ok(to("iabc", 8000)), "{host}");
    }
    assert_eq!(check("99999-iabc.x", None, None), Err(BadTarget::Port));
    assert_eq!(check("80-.x", None, None), Err(BadTarget::Id));
    assert_eq!(check("80-i_.x", None, None), Err(BadTarget::Id));
}

#[test]
fn other_hosts_are_the_api_s() {
    for host in ["api.e2b.app", "web-1.example.com", "-iabc.x", "80.x", "80-iabc", "example"] {
        assert_eq!(check(host, Some("iabc"), Some("80")), Ok(Target::Fallback), "{host}");
    }
    for host in ["[::1", "localhost:x", "[::1]x", "a:1:2"] {
        assert_eq!(check(host, None, None), Err(BadTarget::Host), "{host}");
    }
}

#[test]
fn only_this_machine_is_local() {
    for host in ["localhost", "localhost:49983", "127.0.0.1:49983", "127.9.9.9", "[::1]:49983"] {
        assert!(is_local(host), "{host}");
    }
    for host in ["", "evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "localhost@evil"] {
        assert!(!is_local(host), "{host}");
    }
}

proptest! {
    #[test]
    fn never_panics(host in any::<String>(), id in "[ -~]{0,80}", port in "[ -~]{0,8}") {
        let _ = check(&host, Some(&id), Some(&port));
    }

    #[test]
    fn both_forms_mean_the_same(id in "[a-z0-9]{1,57}", port in 1u16.., domain in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}") {
        let by_host = check(&format!("{port}-{id}.{domain}"), None, None);
        let by_headers = check("localhost:3000", Some(&id), Some(&port.to_string()));
        prop_assert_eq!(&by_host, &by_headers);
        prop_assert_eq!(by_host, Ok(to(&id, port)));
    }

    #[test]
    fn headers_never_move_a_sandbox_s_own_host(
        id in "[a-z0-9]{1,57}", port in 1u16.., other in "[a-z0-9]{1,57}", other_port in 1u16..,
    ) {
        let target = check(&format!("{port}-{id}.test"), Some(&other), Some(&other_port.to_string()));
        prop_assert_eq!(target, Ok(to(&id, port)));
    }
}
