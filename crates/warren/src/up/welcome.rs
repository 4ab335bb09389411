//! What a started server tells the person at the terminal.

use std::io::Write as _;

use super::tls::Trust;
use crate::config::Options;

/// Prints where the server is and what to paste. Where it speaks TLS: for which
/// domain, and what clients must trust if that is our own authority.
pub(crate) fn print(options: &Options, port: u16, key: Option<&str>, tls: Option<(&str, Option<&Trust>)>) {
    let addresses = match tls {
        None => plain(port),
        Some((domain, trust)) => secured(domain, trust),
    };
    // Whoever started the server may have stopped reading; it serves all the same.
    let _: Result<(), std::io::Error> =
        std::io::stdout().write_all(text(options, &addresses, key).as_bytes());
}

/// Where it is, and the lines that lead clients there.
struct Addresses {
    url: String,
    exports: String,
}

fn plain(port: u16) -> Addresses {
    let url = format!("http://localhost:{port}");
    let exports = format!("export E2B_API_URL={url}\nexport E2B_SANDBOX_URL={url}\n");
    Addresses { url, exports }
}

fn secured(domain: &str, trust: Option<&Trust>) -> Addresses {
    let name = domain.split_once(':').map_or(domain, |(name, _)| name);
    let trust = trust.map(|Trust { authority, bundle }| {
        format!(
            "# Certificates are signed by this server's own authority, which speaks for *.{name} alone.\n\
             # On other machines, copy both files and name the copies:\n\
             export NODE_EXTRA_CA_CERTS={}\n\
             export SSL_CERT_FILE={}\n",
            authority.display(),
            bundle.display(),
        )
    });
    let exports = format!(
        "# DNS must lead {name} and *.{name} here.\n\
         export E2B_DOMAIN={domain}\n{}",
        trust.unwrap_or_default()
    );
    Addresses { url: format!("https://api.{domain}"), exports }
}

fn text(options: &Options, addresses: &Addresses, key: Option<&str>) -> String {
    let Addresses { url, exports } = addresses;
    let key = match key {
        _ if !options.api.require_keys => {
            "export E2B_API_KEY=e2b_0000000000000000000000000000000000000000".to_owned()
        }
        Some(key) => format!("export E2B_API_KEY={key}"),
        None => format!(
            "# E2B_API_KEY: the key of the first start; its file in {} is gone",
            options.state_dir.display()
        ),
    };
    format!(
        "# Warren is serving on {url} (isolation: {isolation}). Paste this where your programs run:\n\
         {exports}{key}\n\
         # A first program (pip install e2b-code-interpreter):\n\
         #   from e2b_code_interpreter import Sandbox\n\
         #   with Sandbox.create() as sandbox:\n\
         #       print(sandbox.run_code(\"x = 20; x + 1\").text)\n",
        isolation = options.isolation.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use super::{Trust, plain, secured, text};
    use crate::config::Options;

    #[test]
    fn a_shell_takes_every_line() {
        let trust = Trust { authority: "/s/authority.pem".into(), bundle: "/s/bundle.pem".into() };
        let plain = text(&Options::default(), &plain(3000), Some("e2b_x"));
        let secured = text(&Options::default(), &secured("sbx.example:8443", Some(&trust)), Some("e2b_x"));
        for text in [&plain, &secured] {
            assert!(text.lines().all(|line| line.starts_with("export ") || line.starts_with('#')), "{text}");
            assert!(text.contains("export E2B_API_KEY=e2b_x\n"));
        }
        assert!(plain.contains("export E2B_API_URL=http://localhost:3000\n"));
        assert!(secured.contains("export E2B_DOMAIN=sbx.example:8443\n"));
        assert!(secured.contains("lead sbx.example and *.sbx.example here"));
        assert!(secured.contains("export SSL_CERT_FILE=/s/bundle.pem\n"));
    }
}
