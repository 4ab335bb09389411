//! Names of packages that pip is given: nothing that it would take for an option,
//! and nothing to be fetched but over HTTPS.

use super::Error;

/// Packages of one call.
const MOST: usize = 200;

/// Length of one, in bytes.
const LONGEST: usize = 1024;

/// Schemes of what pip may fetch by URL.
const SCHEMES: [&str; 2] = ["https", "git+https"];

/// Refuses what `pip install` must not get; the error names the package.
pub(super) fn check(packages: &[String]) -> Result<(), Error> {
    if packages.is_empty() {
        return Err(Error::Refused("packages is empty".to_owned()));
    }
    if packages.len() > MOST {
        return Err(Error::Refused(format!("packages has more than {MOST} entries")));
    }
    packages.iter().try_for_each(|package| check_one(package))
}

fn check_one(package: &str) -> Result<(), Error> {
    let shown: String = package.chars().take(80).collect();
    let refused = |why: &str| Err(Error::Refused(format!("packages: {shown:?} {why}")));
    if package.trim().is_empty() {
        return refused("is empty");
    }
    if package.len() > LONGEST {
        return refused("is too long");
    }
    if package.contains(char::is_control) {
        return refused("has control characters");
    }
    if package.trim_start().starts_with('-') {
        return refused("is an option, not a package");
    }
    // `name @ scheme://…` as well as `scheme://…`.
    if let Some((before, _)) = package.split_once(':')
        && !package.trim_start().starts_with(['/', '.'])
    {
        let scheme = before.rsplit(['@', ' ']).next().unwrap_or(before).to_ascii_lowercase();
        // A marker such as `; python_version < "3.9"` has no scheme, nor has a path.
        let is_scheme = package[before.len()..].starts_with("://") || scheme == "file";
        if is_scheme && !SCHEMES.contains(&scheme.as_str()) {
            return refused("has a URL scheme that is not allowed (https and git+https are)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_pass_and_options_and_other_schemes_do_not() {
        for good in [
            "requests",
            "pandas[excel]>=2,<3",
            "tomli; python_version < \"3.11\"",
            "x @ https://example.com/x.whl",
            "git+https://example.com/x.git@v1#egg=x",
            "/home/user/upload/x.whl",
        ] {
            assert!(check(&[good.to_owned()]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "  ",
            "-r",
            " --index-url=https://evil.example",
            "http://example.com/x.whl",
            "x @ file:///etc/passwd",
            "file:/etc/passwd",
            "git+ssh://example.com/x.git",
            "GIT+HTTP://example.com/x.git",
            "a\nb",
            &"x".repeat(2000),
        ] {
            let error = check(&[bad.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with("packages: "), "{bad}: {error}");
        }
        assert!(check(&[]).is_err());
    }
}
