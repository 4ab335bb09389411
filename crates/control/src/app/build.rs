//! Builds that clients order: entered when asked for, handed to the node when
//! started, settled when the node says how they ended.

use std::sync::PoisonError;
use std::time::Duration;

use model::admission::{Promised, admit};
use model::{BuildId, ByteSize, Resources, TeamId, TemplateId, TemplateRef};
use node::build::{
    BuildOrder, BuildProgress, FilesHash, LogEntry, LogLevel, LogPage, OrderStep, Source, Start,
};
use node::image::Credentials;
use store::{Begun, Build, BuildState, BuildStatus, NewBuild, Reason, Template};

use super::{App, Caller, Error, random, token};

/// A build that nobody starts is given up after this.
const WAITING: Duration = Duration::from_mins(40);

/// How long a place for an upload stays open.
const UPLOAD: Duration = Duration::from_mins(30);

/// Entries of a log that one answer has at most.
const MOST_ENTRIES: usize = 100;

/// A build that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    pub(crate) name: TemplateRef,
    pub(crate) tags: Vec<String>,
    pub(crate) cpu_count: Option<u32>,
    pub(crate) memory_mb: Option<u64>,
    pub(crate) min_free_disk_mb: Option<u64>,
}

/// A build that was entered.
#[derive(Debug, Clone)]
pub(crate) struct Requested {
    pub(crate) template: Template,
    pub(crate) build_id: BuildId,
    pub(crate) alias: String,
    pub(crate) full_name: String,
    pub(crate) tags: Vec<String>,
}

/// What a build is made of.
#[derive(Debug, Clone)]
pub(crate) struct BuildStart {
    pub(crate) from_template: Option<String>,
    pub(crate) from_image: Option<String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) steps: Vec<OrderStep>,
    pub(crate) start: Start,
    pub(crate) force: bool,
}

/// How far a build is, with a page of its log.
#[derive(Debug, Clone)]
pub(crate) struct BuildStatusView {
    pub(crate) state: BuildState,
    pub(crate) entries: Vec<LogEntry>,
}

impl App {
    /// Enters a build, and its template if the name is new.
    pub(crate) async fn request_build(
        &self,
        caller: &Caller,
        request: BuildRequest,
    ) -> Result<Requested, Error> {
        let slug = &caller.team.slug;
        if let Some(namespace) = request.name.name.namespace.as_deref().filter(|given| given != slug) {
            return Err(Error::Refused(format!("namespace '{namespace}' is not yours")));
        }
        let tags = effective_tags(&request)?;
        let alias = request.name.name.alias.clone();
        let resources = resources(&request)?;
        self.check_fits(&resources).await?;
        let now = self.options().clock.now();
        let wanted = NewBuild {
            team_id: caller.team.team_id,
            namespace: slug.clone(),
            alias: alias.clone(),
            tags: tags.clone(),
            build: Build {
                build_id: BuildId::from_random(random()),
                template_id: TemplateId::from_random(random()),
                status: BuildStatus::Waiting,
                resources,
                envd_version: wire::control::ENVD_VERSION.to_owned(),
                created_at: now,
                finished_at: None,
            },
            most_builds: self.options().max_builds,
        };
        let template_id = match self.store().begin_build(&wanted).await? {
            Begun::Waiting(template_id) => template_id,
            Begun::NameIsId => return Err(Error::NameIsId(alias)),
            Begun::TooMany => return Err(Error::TooManyBuilds(wanted.most_builds)),
        };
        let template = self.own_template(caller, &template_id).await?;
        let full_name = format!("{slug}/{alias}");
        Ok(Requested { template, build_id: wanted.build.build_id, alias, full_name, tags })
    }

    /// What is more than there is on the whole host would be built, and never start.
    async fn check_fits(&self, resources: &Resources) -> Result<(), Error> {
        let room = self.node().room().await.map_err(Error::Host)?;
        admit(&room.capacity, &room.overcommit, Promised::default(), resources)
            .map(drop)
            .map_err(|shortage| Error::Refused(format!("this host could not start it: {shortage}")))
    }

    /// A template of the caller's, by its id.
    pub(super) async fn own_template(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
    ) -> Result<Template, Error> {
        let found = self.store().template(template_id).await?;
        let found = found.ok_or_else(|| Error::NoTemplate(template_id.to_string()))?;
        match found.team_id {
            Some(team) if team == caller.team.team_id => Ok(found),
            None => Err(Error::NotYours(template_id.to_string())),
            Some(_) => Err(Error::NoTemplate(template_id.to_string())),
        }
    }

    /// Whether files are there, and the query that lets somebody upload them.
    pub(crate) async fn upload_place(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
        hash: &FilesHash,
    ) -> Result<(bool, String), Error> {
        self.own_template(caller, template_id).await?;
        let team = caller.team.team_id;
        let present = self.node().builds().has_files(team, hash).await;
        let expires = (self.options().clock.now() + UPLOAD).unix_micros() / 1_000_000;
        let token = token::upload(&self.options().seed, &team.to_string(), hash.as_str(), expires);
        Ok((present, format!("/upload/{team}/{}?expires={expires}&token={token}", hash.as_str())))
    }

    /// Whether a place for an upload is open still.
    pub(crate) fn may_upload(&self, team: &str, hash: &FilesHash, expires: i64, token: &str) -> bool {
        let now = self.options().clock.now().unix_micros() / 1_000_000;
        expires >= now && token::is_upload(&self.options().seed, team, hash.as_str(), expires, token)
    }

    /// Hands a waiting build to the node.
    pub(crate) async fn start_build(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
        build_id: BuildId,
        start: BuildStart,
    ) -> Result<(), Error> {
        self.own_template(caller, template_id).await?;
        let state = self.store().build_state(template_id, build_id).await?;
        let state =
            state.ok_or_else(|| Error::NoTemplate(format!("{template_id}' with build '{build_id}")))?;
        self.refuse_if_drained().await?;
        let source = self.source(caller, &start).await?;
        let order = BuildOrder {
            template_id: template_id.clone(),
            build_id,
            team_id: caller.team.team_id,
            source,
            steps: start.steps,
            start: start.start,
            force: start.force,
            resources: state.build.resources,
        };
        let app = self.clone();
        self.detached(async move { app.hand_over(order).await }).await
    }

    async fn hand_over(&self, order: BuildOrder) -> Result<(), Error> {
        let build_id = order.build_id;
        let _starting = Starting::new(self, build_id);
        if !self.store().build_begins(build_id).await? {
            return Err(Error::BuildNotWaiting);
        }
        if let Err(error) = self.node().builds().start(order).await {
            let reason = Reason { message: error.to_string(), step: Some("base".to_owned()) };
            self.store().build_ended(build_id, Some(&reason), self.options().clock.now()).await?;
            return Err(Error::Node(error));
        }
        Ok(())
    }

    /// A source that cannot be is told by the build, not by its start.
    async fn source(&self, caller: &Caller, start: &BuildStart) -> Result<Source, Error> {
        match (&start.from_template, &start.from_image) {
            (Some(name), None) => Ok(self.parent(caller, name).await?),
            (None, Some(image)) => {
                Ok(Source::Image { reference: image.clone(), credentials: start.credentials.clone() })
            }
            _ => Err(Error::Refused("name exactly one of fromImage and fromTemplate".to_owned())),
        }
    }

    async fn parent(&self, caller: &Caller, name: &str) -> Result<Source, Error> {
        let wanted: TemplateRef = match name.parse() {
            Ok(wanted) => wanted,
            Err(error) => return Ok(Source::Refused(format!("{error}"))),
        };
        match self.ready_build(caller, &wanted).await {
            Ok((_, build)) => Ok(Source::Template { name: name.to_owned(), build_id: build.build_id }),
            Err(error @ (Error::NoTemplate(_) | Error::NoTag { .. })) => {
                Ok(Source::Refused(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// How far a build is. What the node says of its end is written down before
    /// it is told, so that the next create finds it.
    pub(crate) async fn build_status(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
        build_id: BuildId,
        page: LogPage,
    ) -> Result<BuildStatusView, Error> {
        match self.own_template(caller, template_id).await {
            Err(Error::NoTemplate(_)) => return Err(Error::NoBuild(build_id)),
            other => other.map(drop)?,
        }
        let read = || self.store().build_state(template_id, build_id);
        let mut state = read().await?.ok_or(Error::NoBuild(build_id))?;
        if state.build.status == BuildStatus::Building && self.settle_build(build_id).await? {
            state = read().await?.ok_or(Error::NoBuild(build_id))?;
        }
        let page = LogPage { limit: page.limit.min(MOST_ENTRIES), ..page };
        let entries = match state.build.status {
            BuildStatus::Waiting => Vec::new(),
            _ => self.node().builds().log(build_id, page).await.map_err(Error::Node)?,
        };
        Ok(BuildStatusView { state, entries })
    }

    /// All that a build's log has at or above a level.
    pub(crate) async fn whole_build_log(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
        build_id: BuildId,
        page: LogPage,
    ) -> Result<Vec<LogEntry>, Error> {
        self.own_template(caller, template_id).await?;
        self.store().build_state(template_id, build_id).await?.ok_or(Error::NoBuild(build_id))?;
        self.node().builds().log(build_id, page).await.map_err(Error::Node)
    }

    /// Keeps an upload.
    pub(crate) async fn receive_files(
        &self,
        team: model::TeamId,
        hash: &FilesHash,
        expected: Option<u64>,
        content: crate::Upload,
    ) -> Result<(), node::build::UploadError> {
        self.node().builds().receive_files(team, hash, expected, content).await
    }

    /// Ends a build that waits or is under way.
    pub(crate) async fn cancel_build(
        &self,
        caller: &Caller,
        template_id: &TemplateId,
        build_id: BuildId,
    ) -> Result<(), Error> {
        self.own_template(caller, template_id).await?;
        let state = self.store().build_state(template_id, build_id).await?;
        self.cancel_in(state.ok_or(Error::NoBuild(build_id))?.build.status, build_id).await
    }

    /// Ends every build of a team that waits or is under way; answers how many
    /// were, and how many could not be.
    pub(crate) async fn cancel_all_of(&self, team_id: TeamId) -> Result<(u64, u64), Error> {
        let team = self.team(team_id).await?;
        let (mut canceled, mut failed) = (0, 0);
        for build in self.store().unfinished_builds_of(team.team_id).await? {
            match self.cancel_in(build.status, build.build_id).await {
                Ok(()) => canceled += 1,
                // It ended by itself meanwhile.
                Err(Error::BuildEnded) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(build_id = %build.build_id, error, "a build is not canceled");
                    failed += 1;
                }
            }
        }
        Ok((canceled, failed))
    }

    async fn cancel_in(&self, status: BuildStatus, build_id: BuildId) -> Result<(), Error> {
        let reason = Reason { message: "The build was canceled".to_owned(), step: None };
        let now = self.options().clock.now();
        match status {
            BuildStatus::Waiting => Ok(self.store().build_ended(build_id, Some(&reason), now).await?),
            BuildStatus::Building if self.node().builds().cancel(build_id) => Ok(()),
            _ => Err(Error::BuildEnded),
        }
    }

    /// Writes down how a build ended, if the node says so.
    async fn settle_build(&self, build_id: BuildId) -> Result<bool, Error> {
        let now = self.options().clock.now();
        let reason = match self.node().builds().progress(build_id).await {
            None | Some(BuildProgress::Building) => return Ok(false),
            Some(BuildProgress::Ready) => None,
            Some(BuildProgress::Failed(failure)) => Some(Reason {
                message: failure.message,
                step: Some(failure.step).filter(|step| !step.is_empty()),
            }),
        };
        self.store().build_ended(build_id, reason.as_ref(), now).await?;
        Ok(true)
    }

    /// Settles every build: those that ended, those that nobody started, and
    /// those that the node lost.
    pub(super) async fn settle_builds(&self) -> Result<(), Error> {
        let now = self.options().clock.now();
        for build in self.store().unfinished_builds().await? {
            let given_up = match build.status {
                BuildStatus::Waiting if now.since(build.created_at) > WAITING => "The build was not started",
                BuildStatus::Building
                    if !self.settle_build(build.build_id).await? && self.is_lost(build.build_id).await =>
                {
                    "The build was lost with the state of its node"
                }
                _ => continue,
            };
            let reason = Reason { message: given_up.to_owned(), step: None };
            self.store().build_ended(build.build_id, Some(&reason), now).await?;
        }
        Ok(())
    }

    async fn is_lost(&self, build_id: BuildId) -> bool {
        let starting = || self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).contains(&build_id);
        // Looked at on both sides: it may arrive in between.
        !starting() && self.node().builds().progress(build_id).await.is_none() && !starting()
    }
}

/// A build on its way from the store to the node, or back.
pub(super) struct Starting<'a>(&'a App, BuildId);

impl<'a> Starting<'a> {
    pub(super) fn new(app: &'a App, build_id: BuildId) -> Self {
        app.0.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(build_id);
        Self(app, build_id)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.0.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// The name's own tag first; `default` if there is none at all.
fn effective_tags(request: &BuildRequest) -> Result<Vec<String>, Error> {
    let mut tags: Vec<String> = request.name.tag.iter().cloned().collect();
    for tag in &request.tags {
        let tag = checked_tag(tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if let Some(tag) = tags.iter().find(|tag| tag.parse::<BuildId>().is_ok()) {
        return Err(Error::Refused(format!("Invalid tag '{tag}': it has the form of a build ID")));
    }
    Ok(if tags.is_empty() { vec!["default".to_owned()] } else { tags })
}

/// A tag as it is kept. Where tags are written, one may not look like a build.
pub(super) fn checked_tag(tag: &str) -> Result<String, Error> {
    let invalid = || Error::Refused(format!("Invalid tag '{}'", tag.chars().take(128).collect::<String>()));
    let tag = tag.trim().to_ascii_lowercase();
    let parsed: TemplateRef = format!("x:{tag}").parse().map_err(|_| invalid())?;
    if parsed.tag.is_some_and(|tag| tag.parse::<BuildId>().is_ok()) {
        return Err(invalid());
    }
    Ok(tag)
}

fn resources(request: &BuildRequest) -> Result<Resources, Error> {
    let usual = Resources::DEFAULT;
    let free = ByteSize::mib(request.min_free_disk_mb.unwrap_or(0));
    let resources = Resources {
        cpu_count: request.cpu_count.unwrap_or(usual.cpu_count),
        memory: request.memory_mb.map_or(usual.memory, ByteSize::mib),
        disk: usual.disk.max(free),
    };
    resources.checked().map_err(|error| Error::Refused(error.to_string()))
}

/// Every entry, for those who page by time.
pub(crate) const WHOLE_LOG: LogPage = LogPage { offset: 0, limit: usize::MAX, level: LogLevel::Debug };
