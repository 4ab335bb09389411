//! Routes of the protocol that this version does not have: each says so by name.

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::error::Failure;
use crate::App;
use crate::app::Caller;

const ROUTES: &[(&str, MethodFilter, &str)] = &[
    ("/sandboxes/{sandbox_id}/network", MethodFilter::PUT, "changing the network of a sandbox is"),
    ("/templates", MethodFilter::POST, "building templates from images that the client pushes is"),
    (
        "/templates/{template_id}",
        MethodFilter::POST,
        "building templates from images that the client pushes is",
    ),
    (
        "/templates/{template_id}/builds/{build_id}",
        MethodFilter::POST,
        "building templates from images that the client pushes is",
    ),
    ("/volumes", MethodFilter::GET, "volumes are"),
    ("/volumes", MethodFilter::POST, "volumes are"),
    ("/volumes/{volume_id}", MethodFilter::GET, "volumes are"),
    ("/volumes/{volume_id}", MethodFilter::DELETE, "volumes are"),
    ("/secrets", MethodFilter::GET, "secrets are"),
    ("/secrets", MethodFilter::POST, "secrets are"),
    ("/secrets/{secret}", MethodFilter::GET, "secrets are"),
    ("/secrets/{secret}", MethodFilter::POST, "secrets are"),
    ("/secrets/{secret}", MethodFilter::DELETE, "secrets are"),
    ("/volumecontent/{volume_id}/path", MethodFilter::GET, "volumes are"),
    ("/volumecontent/{volume_id}/path", MethodFilter::PATCH, "volumes are"),
    ("/volumecontent/{volume_id}/path", MethodFilter::DELETE, "volumes are"),
    ("/volumecontent/{volume_id}/dir", MethodFilter::GET, "volumes are"),
    ("/volumecontent/{volume_id}/dir", MethodFilter::POST, "volumes are"),
    ("/volumecontent/{volume_id}/file", MethodFilter::GET, "volumes are"),
    ("/volumecontent/{volume_id}/file", MethodFilter::PUT, "volumes are"),
    ("/templates/{template_id}/tags/count", MethodFilter::GET, "counting tags is"),
    ("/templates/{template_id}/tags/exists", MethodFilter::GET, "asking for one tag is"),
    ("/templates/{template_id}/tags/groups", MethodFilter::GET, "grouping tags is"),
    ("/templates/{template_id}/tags/{tag}/assignments", MethodFilter::GET, "the history of a tag is"),
];

pub(super) fn add(routes: Router<App>) -> Router<App> {
    ROUTES.iter().fold(routes, |routes, (path, method, what)| routes.route(path, refusing(*method, what)))
}

/// Asks for the key first, so that a wrong one is told as such.
fn refusing(method: MethodFilter, what: &'static str) -> MethodRouter<App> {
    on(method, async move |_: Caller| Failure::not_built(what))
}
