//! Names and tags of templates.

use std::time::SystemTime;

use http::Method;
use serde::Deserialize;
use wire::rest::{AssignTags, AssignedTags, RemoveTags, TemplateTag as Told};

use super::Template;
use crate::api::Api;
use crate::http::escape;
use crate::sandbox::moment;
use crate::{Config, Error, ErrorKind};

/// A tag of a template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Told")]
pub struct TemplateTag {
    /// The tag.
    pub tag: String,
    /// The build that it leads to.
    pub build_id: String,
    /// Since when.
    pub created_at: SystemTime,
}

impl From<Told> for TemplateTag {
    fn from(told: Told) -> Self {
        Self { tag: told.tag, build_id: told.build_id, created_at: moment(told.created_at) }
    }
}

impl Template {
    /// Whether the name is taken, also by somebody else.
    pub async fn exists(config: &Config, name: &str) -> Result<bool, Error> {
        let path = format!("/templates/aliases/{}", escape(name));
        match Api::new(config).get::<serde_json::Value>(&path).await {
            Ok(_) => Ok(true),
            Err(e) if e.status() == Some(403) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(family(e)),
        }
    }

    /// Makes tags lead to the build that `target` (`name:tag`) leads to; tells its id.
    pub async fn assign_tags(config: &Config, target: &str, tags: &[&str]) -> Result<String, Error> {
        let body = AssignTags { target: target.to_owned(), tags: owned(tags) };
        let assigned: AssignedTags = Api::new(config).post("/templates/tags", &body).await.map_err(family)?;
        Ok(assigned.build_id)
    }

    /// Removes tags; `default` stays.
    pub async fn remove_tags(config: &Config, name: &str, tags: &[&str]) -> Result<(), Error> {
        let body = RemoveTags { name: name.to_owned(), tags: owned(tags) };
        Api::new(config).send_json(Method::DELETE, "/templates/tags", &body).await.map_err(family)
    }

    /// The tags of a template.
    pub async fn tags(config: &Config, template: &str) -> Result<Vec<TemplateTag>, Error> {
        let path = format!("/templates/{}/tags", escape(template));
        Api::new(config).get(&path).await.map_err(family)
    }
}

fn owned(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn family(error: Error) -> Error {
    error.of_family(ErrorKind::Template)
}
