//! A team's templates: the list, deleting, and the cache of build steps.

use std::time::Duration;

use http::{HeaderMap, Method};
use wire::rest::{
    CachedStep, CollectLayers, CollectedLayers, DefaultTemplate, Template, TemplateUpdate, TemplateUpdated,
    VerifiedLayers,
};

use crate::api::{Api, json};
use crate::http::escape;
use crate::{Config, Error};

/// The templates of the key's team. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Templates {
    api: Api,
}

impl Templates {
    /// Those of a server.
    pub fn new(config: &Config) -> Self {
        Self { api: Api::new(config) }
    }

    /// Every template that the team sees, newest first.
    pub async fn list(&self) -> Result<Vec<Template>, Error> {
        self.api.get("/templates").await
    }

    /// Removes a template with all its builds; `false` if there is none.
    pub async fn delete(&self, name: &str) -> Result<bool, Error> {
        self.api.delete(&format!("/templates/{}", escape(name))).await
    }

    /// Lets other teams start from a template, or no longer; answers with its full names.
    pub async fn publish(&self, name: &str, public: bool) -> Result<Vec<String>, Error> {
        let path = format!("/v2/templates/{}", escape(name));
        let body = Some(json(&TemplateUpdate { public: Some(public) })?);
        let answer = self.api.send(Method::PATCH, &path, body, HeaderMap::new()).await?;
        Ok(answer.json::<TemplateUpdated>()?.names)
    }

    /// Has a template of the server's own built that is built on demand, in its newest form.
    pub async fn order_default(&self, name: &str) -> Result<DefaultTemplate, Error> {
        self.api.post(&format!("/default-templates/{}", escape(name)), &()).await
    }

    /// How far it is.
    pub async fn default_progress(&self, name: &str) -> Result<DefaultTemplate, Error> {
        self.api.get(&format!("/default-templates/{}", escape(name))).await
    }

    /// The steps that the team's builds find, newest use first.
    pub async fn cached_steps(&self) -> Result<Vec<CachedStep>, Error> {
        self.api.get("/template-cache").await
    }

    /// Forgets a step; `false` if there is none.
    pub async fn forget_step(&self, key: &str) -> Result<bool, Error> {
        self.api.delete(&format!("/template-cache/{}", escape(key))).await
    }

    /// Removes layers that nothing leads to or stands on.
    pub async fn collect_layers(&self, wanted: &CollectLayers) -> Result<CollectedLayers, Error> {
        self.api.post("/template-cache/gc", wanted).await
    }

    /// Reads every layer of the server and compares it with what it was when it was
    /// made. Damaged ones are set aside: builds that need them make them anew. It takes
    /// as long as reading them does, up to a day.
    pub async fn verify_layers(&self) -> Result<VerifiedLayers, Error> {
        let mut config = self.api.config.clone();
        config.request_timeout = config.request_timeout.max(Duration::from_hours(24));
        Api::new(&config).post("/template-cache/verify", &serde_json::json!({})).await
    }
}
