//! Templates: what names lead to, and those that come with the server.

use std::sync::{MutexGuard, PoisonError};

use model::{TemplateName, TemplateRef};
use store::{Build, BuildStatus, Resolved, TemplateSummary};

use super::{App, Caller, Error};

impl App {
    /// Writes down the builds that the node has ready, so that names lead to
    /// them. Safe twice; [`run`](App::run) does it whenever they change, so only
    /// a caller that serves before it runs needs to.
    pub async fn register_builds(&self, builds: Vec<node::TemplateBuild>) -> Result<(), Error> {
        for build in builds.into_iter().filter(|build| !build.client) {
            let row = Build {
                build_id: build.build_id,
                template_id: build.template_id,
                status: BuildStatus::Ready,
                resources: build.resources,
                envd_version: build.envd_version,
                created_at: build.created_at,
                finished_at: Some(build.created_at),
            };
            self.store().put_builtin(&row, &build.aliases).await?;
        }
        Ok(())
    }

    /// Does so with those of the node, if they have changed since.
    pub(super) async fn register_new_builds(&self) -> Result<(), Error> {
        let builds = self.node().templates();
        if *self.registered() != builds {
            self.register_builds(builds.clone()).await?;
            *self.registered() = builds;
        }
        Ok(())
    }

    fn registered(&self) -> MutexGuard<'_, Vec<node::TemplateBuild>> {
        self.0.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a name leads to, if the caller may see it.
    pub(super) async fn template_named(
        &self,
        caller: &Caller,
        name: &TemplateName,
    ) -> Result<Option<Resolved>, Error> {
        Ok(self.resolved(caller, name).await?.filter(|found| is_visible(caller, found)))
    }

    /// The same for who asks as its owner: what is another team's is refused, not hidden.
    pub(super) async fn template_to_own(
        &self,
        caller: &Caller,
        name: &TemplateName,
    ) -> Result<Option<Resolved>, Error> {
        let found = self.resolved(caller, name).await?;
        let is_others = |found: &Resolved| found.template.team_id.is_some_and(|id| id != caller.team.team_id);
        if found.as_ref().is_some_and(is_others) {
            return Err(Error::NotYours(name.to_string()));
        }
        Ok(found)
    }

    async fn resolved(&self, caller: &Caller, name: &TemplateName) -> Result<Option<Resolved>, Error> {
        let own = &caller.team.slug;
        Ok(self.store().resolve(name.namespace.as_deref(), &name.alias, own).await?)
    }

    /// The ready build that a reference leads to.
    pub(super) async fn ready_build(
        &self,
        caller: &Caller,
        wanted: &TemplateRef,
    ) -> Result<(Resolved, Build), Error> {
        let (name, own) = (&wanted.name, &caller.team.slug);
        let tag = wanted.tag.as_deref().unwrap_or("default");
        let found = self.store().resolve_build(name.namespace.as_deref(), &name.alias, own, tag).await?;
        let found = found.filter(|(found, _)| is_visible(caller, found));
        let (found, build) = found.ok_or_else(|| self.no_template_yet(wanted))?;
        let no_tag = || Error::NoTag { tag: tag.to_owned(), template: wanted.name.to_string() };
        Ok((found, build.ok_or_else(no_tag)?))
    }

    /// It may be one that is being built.
    fn no_template(&self, wanted: &TemplateRef) -> Error {
        let template = wanted.name.to_string();
        match self.building() {
            Some(progress) => Error::Building { template, progress },
            None => Error::NoTemplate(template),
        }
    }

    /// The same, where it is wanted: one that is built on demand is demanded.
    fn no_template_yet(&self, wanted: &TemplateRef) -> Error {
        let name = &wanted.name;
        match name.namespace.is_none().then(|| self.demand(&name.alias)).flatten() {
            Some(progress) => Error::OnDemand { template: name.to_string(), progress },
            None => self.no_template(wanted),
        }
    }

    /// The templates in the caller's list.
    pub(crate) async fn templates(&self, caller: &Caller) -> Result<Vec<TemplateSummary>, Error> {
        Ok(self.store().templates_of(caller.team.team_id).await?)
    }

    /// What an alias leads to, for those who ask whether it exists.
    pub(crate) async fn template_alias(
        &self,
        caller: &Caller,
        alias: &TemplateRef,
    ) -> Result<Resolved, Error> {
        let namespace = alias.name.namespace.as_deref();
        if let Some(namespace) = namespace.filter(|namespace| *namespace != caller.team.slug) {
            return Err(Error::Refused(format!("namespace '{namespace}' is not yours")));
        }
        let found = self.template_to_own(caller, &alias.name).await?;
        let found = found.ok_or_else(|| self.no_template(alias))?;
        if alias.tag.is_some() {
            self.ready_build(caller, alias).await?;
        }
        Ok(found)
    }
}

/// Others' private templates look as if they were not there.
fn is_visible(caller: &Caller, found: &Resolved) -> bool {
    found.template.public || found.template.team_id == Some(caller.team.team_id)
}
