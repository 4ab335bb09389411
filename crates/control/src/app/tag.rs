//! Tags: names for single builds of a template.

use model::{BuildId, TemplateRef};
use store::Tag;

use super::build::checked_tag;
use super::{App, Caller, Error};

impl App {
    /// Lets tags lead to the build behind a reference.
    pub(crate) async fn assign_tags(
        &self,
        caller: &Caller,
        target: &TemplateRef,
        tags: &[String],
    ) -> Result<(Vec<String>, BuildId), Error> {
        let tags = checked(tags)?;
        let (found, build) = self.ready_build(caller, target).await?;
        self.own_template(caller, &found.template.template_id).await?;
        let now = self.options().clock.now();
        self.store().assign_tags(&found.template.template_id, build.build_id, &tags, now).await?;
        Ok((tags, build.build_id))
    }

    /// Removes tags of a template.
    pub(crate) async fn remove_tags(
        &self,
        caller: &Caller,
        name: &TemplateRef,
        tags: &[String],
    ) -> Result<(), Error> {
        let tags = checked(tags)?;
        if tags.iter().any(|tag| tag == "default") {
            return Err(Error::Refused("the tag 'default' cannot be deleted".to_owned()));
        }
        if name.tag.is_some() {
            return Err(Error::Refused("the template's name must not contain a tag".to_owned()));
        }
        let found = self.template_named(caller, &name.name).await?;
        let found = found.ok_or_else(|| Error::NoTemplate(name.to_string()))?;
        self.own_template(caller, &found.template.template_id).await?;
        Ok(self.store().remove_tags(&found.template.template_id, &tags).await?)
    }

    /// The tags of a template.
    pub(crate) async fn tags(&self, caller: &Caller, name: &TemplateRef) -> Result<Vec<Tag>, Error> {
        let found = self.template_named(caller, &name.name).await?;
        let found = found.ok_or_else(|| Error::NoTemplate(name.to_string()))?;
        Ok(self.store().tags_of(&found.template.template_id).await?)
    }
}

fn checked(tags: &[String]) -> Result<Vec<String>, Error> {
    if tags.is_empty() {
        return Err(Error::Refused("name at least one tag".to_owned()));
    }
    tags.iter().map(|tag| checked_tag(tag)).collect()
}
