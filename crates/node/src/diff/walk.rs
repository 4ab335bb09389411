//! Goes through two merged trees side by side and tells where they differ.
//!
//! Depth first, names by their bytes, a directory before what is in it. A page ends
//! when it is full or when enough was looked at; the next goes on after the path at
//! which it ended. Directories that are the same on both sides are not entered.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::compare::{Facts, Verdict, compare};
use super::merge::{Layer, Listing, Shown, merge};
use super::{DiffError, DiffPage, DiffRequest, Difference, below};

/// Where layers are read. Each is asked only for what it was said to have.
pub(super) trait Trees {
    /// What a layer has in a directory.
    fn list(&self, layer: Layer, dir: &Path) -> Result<Listing, DiffError>;
    /// What it tells of a path.
    fn facts(&self, layer: Layer, path: &Path) -> Result<Facts, DiffError>;
    /// Whether a file or link of two layers has the same bytes, and how many were read.
    fn same_content(&self, path: &Path, before: Layer, after: Layer) -> Result<(bool, u64), DiffError>;
}

/// How much is done for one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Names that are kept at once; more are refused.
    pub(crate) names: usize,
    /// Names that are listed and paths that are looked at before the page ends.
    pub(crate) looks: usize,
    /// Bytes that are compared before it ends.
    pub(crate) bytes: u64,
    /// Longest path of a directory that is entered.
    pub(crate) path: usize,
}

/// One page of what differs between two stacks of layers, the topmost first.
pub(super) fn page(
    trees: &dyn Trees,
    before: &[Layer],
    after: &[Layer],
    request: &DiffRequest,
    bounds: Bounds,
) -> Result<DiffPage, DiffError> {
    let top = |layers: &[Layer]| (!layers.is_empty()).then(|| Shown::Directory(layers.to_vec()));
    let pair = Pair { before: top(before), after: top(after) };
    let skip = request.after.as_deref().map(components);
    let mut walk = Walk {
        trees,
        bounds,
        limit: request.limit,
        open: Vec::new(),
        kept: 0,
        looks: 0,
        bytes: 0,
        page: DiffPage::default(),
    };
    match walk.go(&pair, skip.as_deref()) {
        Ok(()) | Err(Stop::Full) => Ok(walk.page),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Why the walk ends before its end.
enum Stop {
    Full,
    Failed(DiffError),
}

impl From<DiffError> for Stop {
    fn from(error: DiffError) -> Self {
        Self::Failed(error)
    }
}

/// What both sides show at a path.
#[derive(Debug, Default)]
struct Pair {
    before: Option<Shown>,
    after: Option<Shown>,
}

/// A directory that is being gone through.
struct Open<'a> {
    dir: PathBuf,
    left: std::collections::btree_map::IntoIter<Vec<u8>, Pair>,
    /// How many names it was opened with.
    names: usize,
    /// Everything up to this path below it was told before.
    skip: Option<&'a [&'a [u8]]>,
}

struct Walk<'a> {
    trees: &'a dyn Trees,
    bounds: Bounds,
    limit: usize,
    /// From the top on. A stack of our own: how deep it gets is the sandbox's choice.
    open: Vec<Open<'a>>,
    /// Names of directories that are being gone through.
    kept: usize,
    looks: usize,
    bytes: u64,
    page: DiffPage,
}

impl<'a> Walk<'a> {
    /// Goes through everything below the top. With `skip`, what comes up to that
    /// path was told before.
    fn go(&mut self, top: &Pair, skip: Option<&'a [&'a [u8]]>) -> Result<(), Stop> {
        self.visit(PathBuf::new(), top, skip)?;
        while let Some(open) = self.open.last_mut() {
            let Some((name, pair)) = open.left.next() else {
                self.kept -= open.names;
                self.open.pop();
                continue;
            };
            let skip = match open.skip.and_then(<[_]>::split_first) {
                Some((first, _)) if name.as_slice() < *first => continue,
                Some((first, rest)) if name.as_slice() == *first => Some(rest),
                _ => None,
            };
            let path = below(&open.dir, &name);
            self.visit(path, &pair, skip)?;
        }
        Ok(())
    }

    /// Looks at a path, and opens it if it is a directory. With `skip`, it was
    /// looked at before, and what is below it up to that path.
    fn visit(&mut self, path: PathBuf, pair: &Pair, skip: Option<&'a [&'a [u8]]>) -> Result<(), Stop> {
        // The same file of the same layer, or the same directories merged.
        if pair.before == pair.after {
            return Ok(());
        }
        if skip.is_none() {
            self.look(&path, pair)?;
        }
        let directories =
            |shown: &Option<Shown>| shown.as_ref().map_or(Vec::new(), |s| s.directories().to_vec());
        let (before, after) = (directories(&pair.before), directories(&pair.after));
        if before == after {
            return Ok(());
        }
        if path.as_os_str().len() > self.bounds.path {
            let shown = Path::new("/").join(path).components().take(4).collect();
            return Err(DiffError::TooDeep { path: shown }.into());
        }
        let pairs = self.pairs(&path, &before, &after)?;
        let names = pairs.len();
        self.kept += names;
        self.open.push(Open { dir: path, left: pairs.into_iter(), names, skip });
        Ok(())
    }

    /// Tells of a path if it differs; the page may end with it.
    fn look(&mut self, path: &Path, pair: &Pair) -> Result<(), Stop> {
        self.looks += 1;
        let (before, after) =
            (self.facts(path, pair.before.as_ref())?, self.facts(path, pair.after.as_ref())?);
        let differs = match (&before, &after) {
            (Some(before), Some(after)) => match compare(before, after) {
                Verdict::Same => false,
                Verdict::Differs => true,
                Verdict::ByContent => !self.same_content(path, pair)?,
            },
            _ => true,
        };
        let shown = Path::new("/").join(path);
        if differs {
            let (before, after) = (before.map(|facts| facts.state), after.map(|facts| facts.state));
            self.page.differences.push(Difference { path: shown.clone(), before, after });
        }
        let Bounds { looks, bytes, .. } = self.bounds;
        if self.page.differences.len() >= self.limit || self.looks >= looks || self.bytes >= bytes {
            self.page.next = Some(shown);
            return Err(Stop::Full);
        }
        Ok(())
    }

    fn facts(&self, path: &Path, shown: Option<&Shown>) -> Result<Option<Facts>, DiffError> {
        shown.and_then(Shown::top).map(|layer| self.trees.facts(layer, path)).transpose()
    }

    fn same_content(&mut self, path: &Path, pair: &Pair) -> Result<bool, DiffError> {
        let top = |shown: &Option<Shown>| shown.as_ref().and_then(Shown::top);
        let (Some(before), Some(after)) = (top(&pair.before), top(&pair.after)) else { return Ok(false) };
        let (same, bytes) = self.trees.same_content(path, before, after)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(same)
    }

    /// The names of a directory, with what each side shows.
    fn pairs(
        &mut self,
        dir: &Path,
        before: &[Layer],
        after: &[Layer],
    ) -> Result<BTreeMap<Vec<u8>, Pair>, DiffError> {
        let mut listings: BTreeMap<Layer, Listing> = BTreeMap::new();
        let mut listed = 0;
        for side in [before, after] {
            for layer in side {
                if !listings.contains_key(layer) {
                    let listing = self.trees.list(*layer, dir)?;
                    listed += listing.names.len();
                    listings.insert(*layer, listing);
                    if self.kept + listed > self.bounds.names {
                        let path = Path::new("/").join(dir);
                        return Err(DiffError::TooManyNames { path, limit: self.bounds.names });
                    }
                }
                if listings.get(layer).is_some_and(|listing| listing.opaque) {
                    break;
                }
            }
        }
        self.looks += listed;
        let stack = |side: &[Layer]| -> Vec<(Layer, &Listing)> {
            side.iter().map_while(|layer| Some((*layer, listings.get(layer)?))).collect()
        };
        let mut pairs: BTreeMap<Vec<u8>, Pair> = BTreeMap::new();
        for (name, shown) in merge(stack(before)) {
            pairs.entry(name.to_vec()).or_default().before = Some(shown);
        }
        for (name, shown) in merge(stack(after)) {
            pairs.entry(name.to_vec()).or_default().after = Some(shown);
        }
        pairs.retain(|_, pair| pair.before != pair.after);
        Ok(pairs)
    }
}

/// The names that lead to a path.
fn components(path: &Path) -> Vec<&[u8]> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    });
    names.collect()
}
