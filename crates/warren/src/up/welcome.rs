//! What a started server tells the person at the terminal.

use crate::config::Options;

/// Prints where the server is and what to paste.
pub(crate) fn print(options: &Options, port: u16, key: Option<&str>) {
    print!("{}", text(options, port, key));
}

fn text(options: &Options, port: u16, key: Option<&str>) -> String {
    let url = format!("http://localhost:{port}");
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
         export E2B_API_URL={url}\n\
         export E2B_SANDBOX_URL={url}\n\
         {key}\n\
         # A first program (pip install e2b-code-interpreter):\n\
         #   from e2b_code_interpreter import Sandbox\n\
         #   with Sandbox.create() as sandbox:\n\
         #       print(sandbox.run_code(\"x = 20; x + 1\").text)\n",
        isolation = options.isolation.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::config::Options;

    #[test]
    fn a_shell_takes_every_line() {
        let text = text(&Options::default(), 3000, Some("e2b_x"));
        assert!(text.lines().all(|line| line.starts_with("export ") || line.starts_with('#')), "{text}");
        assert!(text.contains("export E2B_API_URL=http://localhost:3000\n"));
        assert!(text.contains("export E2B_API_KEY=e2b_x\n"));
    }
}
