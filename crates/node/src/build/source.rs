//! What a build stands on: a template, an image of a registry, or the local
//! template that stands in for one.

use std::sync::Arc;

use super::cache::{CacheEntry, Pins};
use super::context::Context;
use super::images;
use super::key::Key;
use super::log::LogLevel;
use super::order::{Source, Start};
use super::outline::Look;
use super::perform::{Growing, Performance};
use crate::disk;
use crate::error::chain;
use crate::image::{Credentials, Image, Plan, Puller, StandIns};
use crate::template::Template;

/// Changes when images come to be unpacked in another way, so that old layers are not taken.
const VERSION: &[u8] = b"image 1";

/// Owns what an image's processes do where it names nobody.
const USER: &str = "user";

impl Performance<'_> {
    /// The layers and the context that the source gives.
    pub(super) async fn base(&self) -> Result<Growing, String> {
        let templates = &self.handle.shared.templates;
        match &self.order.source {
            Source::Refused(reason) => Err(reason.clone()),
            Source::Template { name, build_id } => {
                self.info("base", &format!("[base] FROM template {name}"));
                let parent = templates.get(*build_id);
                let parent = parent.ok_or_else(|| format!("template '{name}' is not on this node"))?;
                if parent.generation.is_some() {
                    return Err("building a template from a snapshot is not supported yet: a build starts \
                                from a template, a snapshot is started as it is"
                        .to_owned());
                }
                self.sound(name, &parent.layers).await?;
                Ok(self.of_template(&parent))
            }
            Source::Image { reference, credentials } => {
                self.info("base", &format!("[base] FROM {reference}"));
                self.of_reference(reference, credentials.as_ref()).await
            }
        }
    }

    /// Refuses to build on a damaged layer, and says which template has to be built anew.
    async fn sound(&self, template: &str, layers: &[String]) -> Result<(), String> {
        let (shared, layers) = (Arc::clone(&self.handle.shared), layers.to_vec());
        let find = move || layers.into_iter().find(|layer| !shared.cache.sums.is_sound(layer));
        let damaged = disk::blocking(find).await;
        let said = |layer| {
            format!("the layer {layer} of template '{template}' is damaged: build that template again")
        };
        damaged.map_or(Ok(()), |layer| Err(said(layer)))
    }

    fn of_template(&self, parent: &Template) -> Growing {
        let mut pins = Pins::new(&self.handle.shared.cache);
        parent.layers.iter().for_each(|layer| pins.hold(layer));
        Growing {
            layers: parent.layers.clone(),
            context: Context {
                env: parent.env.clone(),
                user: parent.default_user.clone().unwrap_or_else(|| USER.to_owned()),
                workdir: parent.default_workdir.clone(),
            },
            interpreter: parent.interpreter,
            start: parent.start.clone(),
            key: self.first_key(&parent.layers),
            pins,
            force: self.order.force,
            merged: (0, Vec::new()),
        }
    }

    fn first_key(&self, layers: &[String]) -> Key {
        Key::of_parent(layers).then_bytes(self.order.team_id.to_string().as_bytes())
    }

    /// An image, or what stands in for it.
    async fn of_reference(&self, image: &str, credentials: Option<&Credentials>) -> Result<Growing, String> {
        let options = &self.handle.shared.options;
        let stand_in = images::stand_in(image).filter(|_| options.images.stand_ins != StandIns::Never);
        let is_own = stand_in.as_ref().is_some_and(|stand_in| stand_in.note.is_none());
        let always = stand_in.is_some() && options.images.stand_ins == StandIns::Always;
        let reason = if is_own || always {
            "stand-ins are preferred".to_owned()
        } else {
            match self.pull(image, credentials).await {
                Err(error) if error.is_unreachable() && stand_in.is_some() => chain(&error),
                pulled => return pulled.map_err(|e| chain(&e)),
            }
        };
        let stand_in = stand_in.ok_or_else(|| reason.clone())?;
        if let Some(note) = &stand_in.note {
            self.log.add(LogLevel::Warn, Some("base"), &format!("[base] {reason}: {note}"));
        }
        let template = self.handle.shared.templates.newest(stand_in.template);
        let missing = || format!("template '{}' is not on this node", stand_in.template);
        let template = template.ok_or_else(missing)?;
        self.sound(stand_in.template, &template.layers).await?;
        Ok(self.of_template(&template))
    }

    /// Fetches an image, unless its layer is there.
    async fn pull(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Growing, crate::image::Error> {
        let shared = &self.handle.shared;
        let puller = Puller::new(&shared.options)?;
        let reference = puller.reference(image)?;
        let found = puller.find(&reference, credentials).await?;
        let identity = found.identity();
        let key = Key::of_parent(&[]).then_bytes(VERSION).then_bytes(identity.as_bytes());
        let layer = key.name();
        // Who is allowed to have the image is up to its registry, which was asked;
        // its layer is shared by all that are.
        let making = shared.cache.making(key);
        let _made_once = making.lock().await;
        let mut pins = Pins::new(&shared.cache);
        pins.hold(&layer);
        let to = shared.options.layers_dir().join(&layer);
        let there = disk::blocking({
            let (shared, layer) = (Arc::clone(shared), layer.clone());
            move || shared.cache.sums.is_sound(&layer)
        });
        let mut on = None;
        if there.await {
            self.info("base", &format!("CACHED [base] {reference} is {identity}"));
        } else {
            on = self.unpack(&found, &reference.to_string(), &to).await?;
            let (shared, layer) = (Arc::clone(shared), layer.clone());
            disk::blocking(move || shared.cache.sums.keep(&layer, Look::Contents)).await?;
        }
        self.enter_image(key, &reference.to_string(), on).await?;
        let config = found.config();
        if !config.command.is_empty() {
            let text = format!("[base] the image's own command is not run: {}", config.command.join(" "));
            self.log.add(LogLevel::Debug, Some("base"), &text.chars().take(300).collect::<String>());
        }
        let context = Context {
            env: config.env.clone(),
            user: found.user(&to).await.unwrap_or_else(|| USER.to_owned()),
            workdir: config.workdir.clone(),
        };
        let layers = vec![layer];
        Ok(Growing {
            key: self.first_key(&layers),
            layers,
            context,
            interpreter: false,
            start: Start::default(),
            pins,
            force: self.order.force,
            merged: (0, Vec::new()),
        })
    }

    /// Makes the layer of an image; the layer that it shares the most with.
    async fn unpack(
        &self,
        image: &Image<'_>,
        name: &str,
        to: &std::path::Path,
    ) -> Result<Option<String>, crate::image::Error> {
        let (plan, prefixes) = self.plan(image).await;
        self.info("base", &fetching(image, name, &plan));
        let unpacked = image.unpack(to, plan).await?;
        let on = self.enter_prefixes(prefixes, unpacked.kept, name).await?;
        let omitted = unpacked.omitted;
        for (count, what) in [
            (omitted.devices, "device nodes were left out: no sandbox could open them"),
            (omitted.attributes, "extended attributes were left out: only user.* and capabilities are kept"),
            (omitted.owners, "entries belong to nobody: ids above 65535 are not in a sandbox"),
        ] {
            if count > 0 {
                self.log.add(LogLevel::Warn, Some("base"), &format!("[base] {count} {what}"));
            }
        }
        if !unpacked.found.bash {
            let text = "[base] the image has no /bin/bash, which runs the commands of steps and of the SDKs";
            self.log.add(LogLevel::Warn, Some("base"), text);
        }
        self.info("base", &format!("[base] unpacked {name}"));
        Ok(on)
    }

    /// So that the cache shows the image, and keeps its layer while it is used.
    async fn enter_image(&self, key: Key, name: &str, on: Option<String>) -> Result<(), disk::Error> {
        let team_id = self.order.team_id.to_string();
        let now = self.handle.shared.options.clock.now().unix_micros();
        let mut entry = CacheEntry {
            key: key.then_bytes(team_id.as_bytes()).name(),
            layer: key.name(),
            team_id,
            title: format!("FROM {name}"),
            made_at: now,
            used_at: now,
            on,
        };
        let shared = Arc::clone(&self.handle.shared);
        let enter = move || {
            let before: Option<CacheEntry> = disk::read_json(&shared.cache.path(&entry.key)).ok();
            // It was unpacked by an earlier build.
            entry.on = entry.on.or(before.and_then(|before| before.on));
            shared.cache.put(&entry)
        };
        disk::blocking(enter).await
    }
}

/// What there is to do for an image, in words.
fn fetching(image: &Image<'_>, name: &str, plan: &Plan) -> String {
    let (layers, bytes) = image.extent(0);
    let whole =
        format!("[base] fetching {name} ({}): {layers} layers, {} MiB", image.identity(), bytes >> 20);
    let Some(base) = &plan.base else { return whole };
    let (to_fetch, left) = image.extent(plan.had);
    let depth = base.depth;
    format!(
        "{whole}; the lowest {depth} are unpacked already, {to_fetch} layers, {} MiB are left to fetch",
        left >> 20
    )
}
