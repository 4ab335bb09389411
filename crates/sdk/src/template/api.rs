//! Names and tags of templates.

use std::time::SystemTime;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use wire::rest::Rfc3339;

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

#[derive(Deserialize)]
struct Told {
    tag: String,
    #[serde(rename = "buildID")]
    build_id: String,
    #[serde(rename = "createdAt")]
    created_at: Rfc3339,
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
        #[derive(Deserialize)]
        struct Assigned {
            #[serde(rename = "buildID")]
            build_id: String,
        }
        let body = json!({ "target": target, "tags": tags });
        let assigned: Assigned = Api::new(config).post("/templates/tags", &body).await.map_err(family)?;
        Ok(assigned.build_id)
    }

    /// Removes tags; `default` stays.
    pub async fn remove_tags(config: &Config, name: &str, tags: &[&str]) -> Result<(), Error> {
        let body = json!({ "name": name, "tags": tags });
        Api::new(config).send_json(Method::DELETE, "/templates/tags", &body).await.map_err(family)
    }

    /// The tags of a template.
    pub async fn tags(config: &Config, template: &str) -> Result<Vec<TemplateTag>, Error> {
        let path = format!("/templates/{}/tags", escape(template));
        Api::new(config).get(&path).await.map_err(family)
    }
}

fn family(error: Error) -> Error {
    error.of_family(ErrorKind::Template)
}
