//! What the owner of a template does with it: look, publish, remove.

use model::{TemplateId, TemplateRef};
use store::{Alias, Build, Removal, TemplateSummary};

use super::{App, Caller, Error};

impl App {
    /// A template that the caller may see, by its id, with its builds.
    pub(crate) async fn template_with_builds(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
    ) -> Result<(TemplateSummary, Vec<Build>), Error> {
        let none = || Error::NoTemplate(template_id.to_string());
        let template = self.store().template(template_id).await?.ok_or_else(none)?;
        if template.team_id.is_some_and(|team| team != caller.team.team_id) {
            return Err(none());
        }
        let summary = self.store().summary(template).await?.ok_or_else(none)?;
        let builds = self.store().builds_of(template_id).await?;
        Ok((summary, builds))
    }

    /// Opens a template to other teams, or closes it; answers its names.
    pub(crate) async fn publish(
        &self,
        caller: &Caller,
        name: &TemplateRef,
        public: Option<bool>,
    ) -> Result<Vec<Alias>, Error> {
        let found = self.template_named(caller, &name.name).await?;
        let found = found.ok_or_else(|| Error::NoTemplate(name.to_string()))?;
        let template_id = self.own_template(caller, &found.template.template_id).await?.template_id;
        if let Some(public) = public {
            self.store().set_public(&template_id, public).await?;
        }
        Ok(self.store().aliases(&template_id).await?)
    }

    /// Removes a template with all its builds, unless sandboxes stand on it. A
    /// tag in the reference changes nothing.
    pub(crate) async fn delete_template(&self, caller: &Caller, name: &TemplateRef) -> Result<(), Error> {
        let found = self.template_to_own(caller, &name.name).await?;
        let found = found.ok_or_else(|| Error::NoTemplate(name.to_string()))?;
        let owner = found.template.team_id;
        if owner != Some(caller.team.team_id) {
            return Err(Error::NotYours(name.to_string()));
        }
        let (app, template_id) = (self.clone(), found.template.template_id);
        self.detached(async move { app.remove(template_id).await }).await
    }

    async fn remove(&self, template_id: TemplateId) -> Result<(), Error> {
        let builds = match self.store().remove_template(&template_id).await? {
            Removal::InUse { asleep } => {
                let by = if asleep { "paused" } else { "running" };
                return Err(Error::TemplateInUse { template: template_id.to_string(), by });
            }
            Removal::Done(builds) => builds,
        };
        for build in builds {
            self.node().builds().forget(build).await.map_err(Error::Node)?;
        }
        tracing::info!(%template_id, "template deleted");
        Ok(())
    }
}
