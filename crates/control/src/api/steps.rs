//! The definition of a template as clients send it, step by step. Pure.

use http::HeaderMap;
use http::header::USER_AGENT;
use node::build::{FilesHash, Instruction, MOST_STEPS, OrderStep, Start};
use node::image::Credentials;
use wire::rest::{ImageRegistry, TemplateBuildStart, TemplateStep};

use super::error::Failure;
use crate::app::BuildStart;

/// Longest command or other text of a step,
const TEXT_BYTES: usize = 256 << 10;
/// and of all steps together.
const ALL_BYTES: usize = 2 << 20;

/// Refuses a client whose version cannot be read, as the reference does.
pub(super) fn check_client(headers: &HeaderMap) -> Result<(), Failure> {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let version = agent.split_whitespace().find_map(|token| {
        token.strip_prefix("e2b-js-sdk/").or_else(|| token.strip_prefix("e2b-python-sdk/"))
    });
    let Some(version) = version else { return Ok(()) };
    let parts: Vec<&str> = version.split('.').collect();
    let is_number = |part: &&str| part.starts_with(|c: char| c.is_ascii_digit());
    if (2..=4).contains(&parts.len()) && parts.iter().take(2).all(is_number) {
        return Ok(());
    }
    Err(Failure::bad_request(format!("Error when parsing user agent: {version:?} is no version")))
}

/// Reads the whole definition.
pub(super) fn parse(body: TemplateBuildStart) -> Result<BuildStart, Failure> {
    let steps = body.steps.unwrap_or_default();
    if steps.len() > MOST_STEPS {
        return Err(Failure::bad_request(format!("a template can have {MOST_STEPS} steps at most")));
    }
    if steps.iter().flat_map(|step| &step.args).map(String::len).sum::<usize>() > ALL_BYTES {
        return Err(Failure::bad_request("the steps are longer than 2 MiB altogether"));
    }
    if body.from_image_registry.is_some() && body.from_image.is_none() {
        return Err(Failure::bad_request("fromImageRegistry is given without fromImage"));
    }
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let numbered = steps.iter().enumerate();
    Ok(BuildStart {
        from_template: given(body.from_template),
        from_image: given(body.from_image),
        credentials: body.from_image_registry.map(credentials),
        steps: numbered.map(|(index, step)| parse_step(index + 1, step)).collect::<Result<_, _>>()?,
        start: Start { command: given(body.start_cmd), ready: given(body.ready_cmd) },
        force: body.force.unwrap_or(false),
    })
}

fn credentials(registry: ImageRegistry) -> Credentials {
    match registry {
        ImageRegistry::Registry { username, password } => Credentials::Password { username, password },
        ImageRegistry::Aws { access_key_id, secret_access_key, region } => {
            Credentials::Aws { access_key_id, secret_access_key, region }
        }
        ImageRegistry::Gcp { service_account } => Credentials::Gcp { key: service_account },
    }
}

fn parse_step(number: usize, step: &TemplateStep) -> Result<OrderStep, Failure> {
    let refused = |what: &str| Failure::bad_request(format!("step {number} ({}): {what}", step.kind));
    if step.args.iter().any(|arg| arg.len() > TEXT_BYTES || arg.contains('\0')) {
        return Err(refused("an argument is too long or has a zero byte"));
    }
    let arg = |index: usize| step.args.get(index).cloned().filter(|arg| !arg.is_empty());
    let needed = |index: usize, what: &str| arg(index).ok_or_else(|| refused(what));
    let instruction = match step.kind.to_ascii_uppercase().as_str() {
        "RUN" => Instruction::Run { command: needed(0, "it names no command")?, user: arg(1) },
        "COPY" | "ADD" => {
            let files = step.files_hash.clone().ok_or_else(|| refused("filesHash is required"))?;
            Instruction::Copy {
                source: needed(0, "it names no source")?,
                dest: needed(1, "it names no destination")?,
                owner: arg(2),
                mode: arg(3),
                files: FilesHash::try_from(files).map_err(|e| refused(&e))?,
            }
        }
        "ENV" | "ARG" => {
            Instruction::Env(pairs(&step.args).ok_or_else(|| refused("it is no list of names and values"))?)
        }
        "WORKDIR" => Instruction::Workdir(needed(0, "it names no directory")?),
        "USER" => {
            let name = needed(0, "it names no user")?;
            let name = name.split(':').next().unwrap_or_default().to_owned();
            if !is_user(&name) {
                return Err(refused("the user's name is not valid"));
            }
            Instruction::User { name, sudo: arg(1).as_deref() == Some("true") }
        }
        _ => return Err(refused("its type is not known")),
    };
    Ok(OrderStep { instruction, force: step.force.unwrap_or(false) })
}

fn pairs(args: &[String]) -> Option<Vec<(String, String)>> {
    let (pairs, rest) = args.as_chunks::<2>();
    let is_name = |name: &str| !name.is_empty() && !name.contains('=');
    if !rest.is_empty() || pairs.is_empty() || !pairs.iter().all(|[name, _]| is_name(name)) {
        return None;
    }
    Some(pairs.iter().map(|[name, value]| (name.clone(), value.clone())).collect())
}

/// What `useradd` takes, roughly: it has the last word.
fn is_user(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.$".contains(&b);
    (1..=32).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &str, args: &[&str], hash: Option<&str>) -> Result<Instruction, Failure> {
        let step = TemplateStep {
            kind: kind.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            files_hash: hash.map(str::to_owned),
            force: None,
        };
        parse_step(1, &step).map(|step| step.instruction)
    }

    #[test]
    fn what_the_official_clients_send_is_understood() {
        let hash = "0".repeat(64);
        for (kind, args) in [
            ("RUN", &["ls", "root"][..]),
            ("COPY", &["folder/*", "dest", "root", "0755"]),
            ("COPY", &["a", "b", "", ""]),
            ("ENV", &["A", "1", "B", ""]),
            ("WORKDIR", &["/app"]),
            ("USER", &["bob"]),
        ] {
            assert!(step(kind, args, Some(&hash)).is_ok(), "{kind} {args:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (kind, args) in [
            ("RUN", &[""][..]),
            ("COPY", &["a", "b"]),
            ("ENV", &["A"]),
            ("ENV", &["A=B", "1"]),
            ("USER", &["-x"]),
            ("USER", &["a b"]),
            ("MAGIC", &["x"]),
        ] {
            assert!(step(kind, args, None).is_err(), "{kind} {args:?}");
        }
    }

    #[test]
    fn only_broken_versions_of_the_official_clients_are_refused() {
        let check = |agent: &str| {
            let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]);
            check_client(&headers).is_ok()
        };
        assert!(check("e2b-python-sdk/2.63.0") && check("curl/8 e2b-js-sdk/2.51.0 (x)") && check("x"));
        assert!(!check("e2b-js-sdk/next"));
    }
}
