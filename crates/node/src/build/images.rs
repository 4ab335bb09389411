//! Images that have a local equivalent. Pure.

/// What stands in for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StandIn {
    /// The name of a built-in template.
    pub(super) template: &'static str,
    /// How it differs from what was asked for; nothing to say if it does not.
    pub(super) note: Option<String>,
}

/// Images of distributions and languages that `base` can stand in for.
const FAMILIAR: [&str; 7] =
    ["debian", "ubuntu", "python", "node", "buildpack-deps", "bitnami/python", "bitnami/node"];

/// The template that stands in for an image, if one does.
pub(super) fn stand_in(reference: &str) -> Option<StandIn> {
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let name = name.split(['@', ':']).next().unwrap_or(name);
    let template = match name {
        "e2bdev/base" => return Some(StandIn { template: "base", note: None }),
        "e2bdev/code-interpreter" => return Some(StandIn { template: "code-interpreter-v1", note: None }),
        name if FAMILIAR.contains(&name) => "base",
        _ => return None,
    };
    let note = format!(
        "the local template {template} (Debian 13 with Python 3.13 and Node.js 20) stands in for {reference}"
    );
    Some(StandIn { template, note: Some(note) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_images_have_a_stand_in_and_others_have_none() {
        for reference in
            ["debian:stable", "python:3", "node:lts", "docker.io/library/ubuntu:22.04", "debian@sha256:00"]
        {
            assert_eq!(stand_in(reference).unwrap().template, "base", "{reference}");
        }
        assert_eq!(stand_in("e2bdev/base").unwrap().note, None);
        for reference in ["registry.example/python:3", "alpine", "oven/bun:latest", ""] {
            assert_eq!(stand_in(reference), None, "{reference}");
        }
    }
}
