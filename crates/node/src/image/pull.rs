//! From a reference to a layer: the whole way, or the end of it if the layer is
//! there already.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _};
use runtime::Trees;

use super::account::{self, Found};
use super::http::Http;
use super::manifest::{Blob, Config};
use super::reference::{Digest, Reference};
use super::registry::{self, Described, Registry};
use super::stack::{Sheet, Stack};
use super::tree::Tree;
use super::unpack::{Bounds, Omitted};
use super::{Credentials, Error, ImageOptions, chain, download};
use crate::{NodeOptions, disk};

/// Blobs of one image that are fetched at a time.
const AT_A_TIME: usize = 3;

/// Fetches images for one build.
#[derive(Debug)]
pub(crate) struct Puller<'a> {
    options: &'a ImageOptions,
    http: Http,
    blobs_dir: PathBuf,
    now: i64,
}

/// An image that was found in a registry.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    puller: &'a Puller<'a>,
    registry: Registry<'a>,
    name: String,
    described: Described,
}

/// What is known of an image's layers, and what is to be kept of them.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Makes trees that can be copied; without, nothing is kept.
    pub(crate) trees: Option<Arc<dyn Trees>>,
    /// So many of the lowest layers need not be fetched.
    pub(crate) had: usize,
    /// The tree to start from, of at least as many layers.
    pub(crate) base: Option<Base>,
    /// After how many layers a copy of the tree gets which name, unless it is taken.
    pub(crate) keep: BTreeMap<usize, PathBuf>,
}

/// A tree of an image's lowest layers.
#[derive(Debug)]
pub(crate) struct Base {
    /// How many.
    pub(crate) depth: usize,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it holds, for the bounds of the whole image.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// What unpacking came to.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// After how many layers trees were kept.
    pub(crate) kept: Vec<usize>,
    pub(crate) omitted: Omitted,
    pub(crate) found: Found,
}

impl<'a> Puller<'a> {
    pub(crate) fn new(options: &'a NodeOptions) -> Result<Self, Error> {
        let http = Http::new(plain_hosts(&options.images));
        let blobs_dir = blobs_dir(options);
        let http = http.map_err(disk::error("reading the certificate authorities for", &blobs_dir))?;
        Ok(Self { options: &options.images, http, blobs_dir, now: options.clock.now().unix_micros() })
    }

    /// Takes a reference apart, and refuses registries that are not allowed.
    pub(crate) fn reference(&self, image: &str) -> Result<Reference, Error> {
        let invalid = |why| Error::Reference { image: image.chars().take(200).collect(), why };
        let reference: Reference = image.parse().map_err(invalid)?;
        let allowed = &self.options.allowed;
        if !allowed.is_empty() && !allowed.contains(&reference.registry) {
            return Err(Error::NotAllowed { image: reference.to_string() });
        }
        Ok(reference)
    }

    /// Asks the mirrors, then the registry, what the image is.
    pub(crate) async fn find(
        &'a self,
        reference: &'a Reference,
        credentials: Option<&'a Credentials>,
    ) -> Result<Image<'a>, Error> {
        let mut places = registry::places(&self.http, self.options, reference, credentials, self.now)
            .into_iter()
            .peekable();
        loop {
            let registry = places.next().expect("a registry is the last of its own places");
            match registry.describe().await {
                Ok(described) => {
                    return Ok(Image { puller: self, registry, name: reference.to_string(), described });
                }
                Err(e) if places.peek().is_none() => return Err(e),
                Err(error) => tracing::info!(%error, "a mirror has no such image, the next place is asked"),
            }
        }
    }
}

impl Image<'_> {
    /// The hash of everything that the image is.
    pub(crate) fn identity(&self) -> String {
        self.described.digest.to_string()
    }

    /// What it says of the processes in it.
    pub(crate) fn config(&self) -> &Config {
        &self.described.config
    }

    /// How many layers it has, and how many bytes they are as they come, without so
    /// many of the lowest.
    pub(crate) fn extent(&self, without: usize) -> (usize, u64) {
        let layers = self.described.manifest.layers.get(without..).unwrap_or_default();
        (layers.len(), layers.iter().fold(0, |sum, blob| blob.size.saturating_add(sum)))
    }

    /// What its layers are called together with those beneath them, lowest first; empty
    /// if its configuration does not say what they unpack to.
    pub(crate) fn chain(&self) -> Vec<Digest> {
        self.diff_ids().map(chain::chain).unwrap_or_default()
    }

    /// After how many layers a tree is worth keeping.
    pub(crate) fn worth_keeping(&self) -> Vec<usize> {
        let sizes: Vec<u64> = self.described.manifest.layers.iter().map(|blob| blob.size).collect();
        chain::worth_keeping(&sizes)
    }

    fn diff_ids(&self) -> Option<&[Digest]> {
        let diff_ids = &self.described.config.diff_ids;
        (diff_ids.len() == self.described.manifest.layers.len()).then_some(diff_ids)
    }

    /// Fetches its layers and makes `to` of them, a path beside other layers that
    /// is not there yet; it appears whole or not at all. Dropping the future stops
    /// the work; what was fetched stays for the next attempt.
    pub(crate) async fn unpack(&self, to: &Path, plan: Plan) -> Result<Unpacked, Error> {
        let most = self.puller.options.max_bytes;
        if self.extent(0).1 > most {
            return Err(self.registry.unusable(format!("its layers are larger than {most} bytes")));
        }
        let dir = self.puller.blobs_dir.clone();
        disk::blocking(move || disk::ensure_dir(&dir)).await?;
        let fetched = self.fetch(plan.had).await?;
        let sheets = self.described.manifest.layers.iter().enumerate().map(|(index, blob)| Sheet {
            blob: fetched.get(blob).cloned(),
            diff_id: self.diff_ids().map(|diff_ids| diff_ids[index].clone()),
        });
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let work = {
            let stack = Stack {
                image: self.name.clone(),
                sheets: sheets.collect(),
                plan,
                bounds: Bounds { bytes: most, entries: self.puller.options.max_entries },
                stop: Arc::clone(&stop.0),
            };
            let to = to.to_owned();
            move || stack.put(&to)
        };
        let unpacked = disk::blocking(work).await;
        let dir = self.puller.blobs_dir.clone();
        let names: Vec<PathBuf> = fetched.keys().map(|blob| blob.digest.hex().into()).collect();
        disk::blocking(move || download::remove(&dir, &names)).await;
        unpacked
    }

    /// Every layer once, however often the image has it, without so many of the lowest.
    async fn fetch(&self, without: usize) -> Result<BTreeMap<Blob, Arc<File>>, Error> {
        let mut blobs = self.described.manifest.layers.get(without..).unwrap_or_default().to_vec();
        blobs.sort();
        blobs.dedup();
        let fetch = async |blob: Blob| {
            let file = download::blob(&self.registry, &blob, &self.puller.blobs_dir).await?;
            Ok::<_, Error>((blob, Arc::new(file)))
        };
        futures_util::stream::iter(blobs).map(fetch).buffer_unordered(AT_A_TIME).try_collect().await
    }

    /// The name of the user that the image wants, if its layer has one.
    pub(crate) async fn user(&self, layer: &Path) -> Option<String> {
        let wanted = self.described.config.user.clone()?;
        let layer = layer.to_owned();
        let passwd = disk::blocking(move || Tree::open(&layer).and_then(|tree| account::passwd(&tree)));
        account::name_of(&passwd.await.ok()?, &wanted)
    }
}

/// Tells the thread that unpacks when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Hosts without TLS: those that are said to be, and mirrors whose URL says so.
fn plain_hosts(options: &ImageOptions) -> Vec<String> {
    let urls = options.mirrors.values().flatten().chain(&options.aws_endpoint);
    let hosts = urls.filter_map(|url| url.strip_prefix("http://"));
    let hosts = hosts.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
    options.plain_http.iter().cloned().chain(hosts).collect()
}

fn blobs_dir(options: &NodeOptions) -> PathBuf {
    options.bulk_dir.join("blobs")
}

/// Removes what pulls that nobody goes on with left. Blocks on files.
pub(crate) fn forget_blobs(options: &NodeOptions) -> Result<(), disk::Error> {
    disk::remove_dir(&blobs_dir(options))
}
