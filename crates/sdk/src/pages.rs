//! Lists that the server gives page by page.

use std::collections::VecDeque;
use std::marker::PhantomData;

use futures_util::Stream;
use serde::de::DeserializeOwned;

use crate::api::Api;
use crate::http::escape;
use crate::{Config, Error, ErrorKind};

/// A list to be read page by page. A page that failed can be asked for again.
#[derive(Debug)]
pub struct Paginator<T> {
    api: Api,
    /// Path and query without the token.
    path: String,
    token: Option<String>,
    has_next: bool,
    /// What a missing thing means, and what other failures of these calls mean.
    family: Option<ErrorKind>,
    convert: Convert<T>,
}

struct Convert<T>(fn(&crate::api::Answer) -> Result<Vec<T>, Error>, PhantomData<T>);

impl<T> std::fmt::Debug for Convert<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Convert")
    }
}

impl<T: Send + 'static> Paginator<T> {
    pub(crate) fn new<W: DeserializeOwned + Into<T>>(
        config: &Config,
        path: String,
        token: Option<String>,
        family: Option<ErrorKind>,
    ) -> Self {
        let convert: fn(&crate::api::Answer) -> Result<Vec<T>, Error> =
            |answer| Ok(answer.json::<Vec<W>>()?.into_iter().map(Into::into).collect());
        let api = Api::new(config);
        Self { api, path, token, has_next: true, family, convert: Convert(convert, PhantomData) }
    }

    /// Whether there may be a further page; `true` before the first.
    pub fn has_next(&self) -> bool {
        self.has_next
    }

    /// Where the next page starts, to go on from there later.
    pub fn next_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The next page; empty after the last. Cancel-safe: a page whose future
    /// was dropped comes again.
    pub async fn next_items(&mut self) -> Result<Vec<T>, Error> {
        if !self.has_next {
            return Ok(Vec::new());
        }
        let joint = if self.path.contains('?') { '&' } else { '?' };
        let path = match &self.token {
            Some(token) => format!("{}{joint}nextToken={}", self.path, escape(token)),
            None => self.path.clone(),
        };
        let page = self.api.page(&path).await;
        let page = match self.family {
            Some(family) => page.map_err(|e| e.of_family(family))?,
            None => page?,
        };
        let items = (self.convert.0)(&page)?;
        // A server that repeats its token would keep us here for ever.
        let next = page.next_token().filter(|next| self.token.as_ref() != Some(next));
        self.has_next = next.is_some();
        self.token = next;
        Ok(items)
    }

    /// Everything that is left.
    pub async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while self.has_next {
            all.extend(self.next_items().await?);
        }
        Ok(all)
    }

    /// The items one by one; pages are read when they are needed.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Error>> + Send {
        futures_util::stream::try_unfold((self, VecDeque::new()), |(mut pages, mut ready)| async move {
            loop {
                if let Some(item) = ready.pop_front() {
                    return Ok(Some((item, (pages, ready))));
                }
                if !pages.has_next {
                    return Ok(None);
                }
                ready.extend(pages.next_items().await?);
            }
        })
    }
}
